"""Time and multiply-adds of each layer, forward and backward."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

OUTSIDE_LAYERS = "the step itself"
"""The layer of operations outside of all modules: scaling, gradient norm, optimiser."""


class Layer(NamedTuple):
    """The key by which costs are summed: a module of the network, in a phase of the step."""

    phase: str
    path: str
    class_name: str


@dataclass
class Cost:
    """Seconds, and multiply-adds of convolutions and matrix products; 0 if not counted."""

    seconds: float = 0.0
    multiply_adds: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.multiply_adds + other.multiply_adds)


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum."""
    return sum(costs, Cost())


class LayerTracker:
    """Sums the cost of each layer that runs inside a `with` block.

    A layer is the innermost module that is not part of `torch.nn`. When its forward pass ends, the autograd nodes that
    it created are assigned to it, so that the backward pass is attributed too. (`torch.utils.module_tracker` reports
    several branches as running at once in the backward pass.)

    Args:
        roots: prefix of the paths -> module: the network with "", the losses with "losses".
        counter: counts FLOPs; it slows down every operation, so time is measured without one.
    """

    def __init__(
        self, roots: dict[str, nn.Module], device: torch.device, counter: FlopCounterMode | None = None
    ) -> None:
        self.costs: dict[Layer, Cost] = {}
        self._phase = "forward"
        self._names = {
            module: (".".join(p for p in (root, path) if p) or "network", type(module).__name__)
            for root, top in roots.items()
            for path, module in top.named_modules()
            if not type(module).__module__.startswith("torch.")
        }
        self._stack: list[tuple[str, str]] = []
        self._backward: tuple[str, str] | None = None
        self._marked: set[Any] = set()
        self._handles: list[Any] = []
        self._now: Callable[[], Any] = _record_event if device.type == "cuda" else time.perf_counter
        self._intervals: list[tuple[Layer, Any, Any]] = []
        self._counter = counter
        self._last: tuple[Any, int] = (None, 0)

    def __enter__(self) -> LayerTracker:
        for module in self._names:
            self._handles.append(module.register_forward_pre_hook(self._before_forward, with_kwargs=True))
            self._handles.append(module.register_forward_hook(self._after_forward, always_call=True))
        self._last = self._now(), self._flops()
        return self

    def __exit__(self, *error: object) -> None:
        self._record_cost()
        for handle in self._handles:
            handle.remove()
        self._marked.clear()
        if self._now is _record_event:
            torch.cuda.synchronize()
        for layer, start, end in self._intervals:
            seconds = start.elapsed_time(end) / 1000 if self._now is _record_event else end - start
            self.costs[layer].seconds += seconds
        self._intervals.clear()

    def enter_phase(self, phase: str) -> None:
        """Start another phase of the step."""
        self._record_cost()
        self._phase = phase
        if phase == "data wait":  # the previous step has ended; release its graph
            self._marked.clear()

    def _flops(self) -> int:
        return self._counter.get_total_flops() if self._counter is not None else 0

    def _running(self) -> tuple[str, str]:
        return self._stack[-1] if self._stack else self._backward or (OUTSIDE_LAYERS, OUTSIDE_LAYERS)

    def _record_cost(self) -> None:
        """Add the cost since the last call to the current layer."""
        layer = Layer(self._phase, *self._running())
        (start, flops), self._last = self._last, (self._now(), self._flops())
        self._intervals.append((layer, start, self._last[0]))
        # A multiply-add is two of PyTorch's FLOPs.
        self.costs.setdefault(layer, Cost()).multiply_adds += (self._last[1] - flops) // 2

    def _before_forward(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        self._record_cost()
        self._mark((arguments, keywords))
        self._stack.append(self._names[module])

    def _after_forward(self, module: nn.Module, arguments: Any, outputs: Any) -> None:
        self._record_cost()
        self._mark(outputs)
        self._stack.pop()

    def _mark(self, tensors: Any) -> None:
        """Assign the unassigned autograd nodes behind tensors to the current layer."""
        layer = self._running()
        nodes = [t.grad_fn for t in tree_leaves(tensors) if isinstance(t, torch.Tensor)]
        while nodes:
            node = nodes.pop()
            if node is None or node in self._marked:
                continue
            self._marked.add(node)
            node.register_prehook(lambda *_: self._run_backward(layer))
            node.register_hook(lambda *_: self._run_backward(None))
            nodes.extend(next_node for next_node, _ in node.next_functions)

    def _run_backward(self, layer: tuple[str, str] | None) -> None:
        self._record_cost()
        self._backward = layer


def _record_event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
