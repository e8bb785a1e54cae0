"""Count what a network computes, operation by operation: multiply-adds, bytes, seconds, and which layer asked for it.

The rule: a convolution or matrix product counts one multiply-add for each product of its plain sum, products with the
zeros of a padding included, as `torch.utils.flop_counter` counts (which counts two operations for each); nothing else
has any. Bytes are those of every tensor that an operation reads or writes, once each; a view moves none.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

THE_STEP = "the step itself"
"""The layer of operations that no module asked for: scaling, gradient norm, optimiser."""

_KINDS = {
    "convolution": ("convolution",),
    "matrix product": ("mm", "bmm", "addmm", "baddbmm", "attention"),
    "normalisation": ("batch_norm", "layer_norm", "group_norm"),
    "pooling": ("pool",),
    "copies and casts": ("copy", "clone", "cat", "stack", "index", "constant_pad", "fill", "zero", "empty"),
    "sums and extrema": ("sum", "mean", "amax", "amin", "argmax", "max_dim", "norm", "var"),
}
"""Kinds of work, and what the names of their operations hold; the first that fits; else element by element."""


def kind_of(operation: str) -> str:
    """Return the kind of work of an operation, by its name in ATen."""
    for kind, parts in _KINDS.items():
        if any(part in operation for part in parts):
            return kind
    return "element by element"


class Key(NamedTuple):
    """What work is counted by.

    Attributes:
        phase: of the step.
        layer: the module's path in the network.
        layer_class: its class.
        kind: of work.
    """

    phase: str
    layer: str
    layer_class: str
    kind: str


@dataclass
class Work:
    """An amount of work.

    Attributes:
        calls: operations.
        macs: multiply-adds, by the name of their dtype.
        moved: bytes.
        seconds: time; 0 where none is measured.
    """

    calls: int = 0
    macs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    moved: int = 0
    seconds: float = 0.0

    def add(self, other: Work) -> None:
        """Add another amount."""
        self.calls += other.calls
        self.moved += other.moved
        self.seconds += other.seconds
        for dtype, count in other.macs.items():
            self.macs[dtype] += count

    @property
    def all_macs(self) -> int:
        """Multiply-adds of every dtype."""
        return sum(self.macs.values())


def total(works: Iterable[Work]) -> Work:
    """Return the sum."""
    result = Work()
    for work in works:
        result.add(work)
    return result


def _stored(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor's different elements: an expanded one reads the same place again and again."""
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or size == 0 else 1
    return count


class Counter(TorchDispatchMode):
    """Counts everything that runs in its `with` block, by phase, layer and kind of work.

    A layer is the innermost module that is not one of `torch.nn` itself. The nodes of the autograd graph that a layer
    makes are marked as its own when its forward pass ends, so the backward pass is counted by layer too.

    Args:
        roots: modules with what their paths begin with: the network with "", the losses with "losses".
        phase: tells the phase that runs.
        timed: measure seconds; the device is then the one of the tensors.

    Attributes:
        works: what was counted.
    """

    def __init__(
        self, roots: dict[str, nn.Module], phase: Callable[[], str] = lambda: "forward", timed: bool = False
    ) -> None:
        super().__init__()
        self.works: dict[Key, Work] = defaultdict(Work)
        self._names = {
            module: (".".join(p for p in (root, path) if p) or "network", type(module).__name__)
            for root, top in roots.items()
            for path, module in top.named_modules()
            if not type(module).__module__.startswith("torch.")
        }
        self._roots = roots
        self._phase = phase
        self._timed = timed
        self._stack: list[tuple[str, str]] = []
        self._running: tuple[str, str] | None = None
        self._nodes: dict[Any, tuple[str, str]] = {}
        self._handles: list[Any] = []
        self._pending: list[tuple[Work, Any, Any]] = []

    def __enter__(self) -> Counter:
        for root in self._roots.values():
            for module in root.modules():
                if module in self._names:
                    self._handles.append(module.register_forward_pre_hook(self._entered, with_kwargs=True))
                    self._handles.append(module.register_forward_hook(self._left, always_call=True))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.forget_graph()
        if self._pending:
            torch.cuda.synchronize()
            for work, start, end in self._pending:
                work.seconds += start.elapsed_time(end) / 1000
            self._pending.clear()

    def forget_graph(self) -> None:
        """Let go of the last step's autograd graph."""
        self._nodes.clear()

    def _entered(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        self._claim((arguments, keywords), self._layer())
        self._stack.append(self._names[module])

    def _left(self, module: nn.Module, arguments: Any, outputs: Any) -> None:
        self._claim(outputs, self._layer())
        self._stack.pop()

    def _layer(self) -> tuple[str, str]:
        return self._stack[-1] if self._stack else self._running or (THE_STEP, THE_STEP)

    def _claim(self, tensors: Any, layer: tuple[str, str]) -> None:
        """Mark the nodes of the graph behind some tensors that are nobody's yet."""
        waiting = [t.grad_fn for t in tree_leaves(tensors) if isinstance(t, torch.Tensor)]
        while waiting:
            node = waiting.pop()
            if node is None or node in self._nodes:
                continue
            self._nodes[node] = layer
            node.register_prehook(lambda grads, layer=layer: self._run(layer))
            node.register_hook(lambda inputs, outputs: self._run(None))
            waiting.extend(following for following, _ in node.next_functions)

    def _run(self, layer: tuple[str, str] | None) -> None:
        self._running = layer

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        kwargs = kwargs or {}
        name = func._overloadpacket.__name__
        work = self.works[Key(self._phase(), *self._layer(), kind_of(name))]
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        on_gpu = self._timed and any(t.is_cuda for t in tensors)
        if on_gpu:
            started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            started.record()
            out = func(*args, **kwargs)
            ended.record()
            self._pending.append((work, started, ended))
        else:
            start = time.perf_counter()
            out = func(*args, **kwargs)
            if self._timed:
                work.seconds += time.perf_counter() - start
        work.calls += 1
        if not func.is_view:
            made = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
            work.moved += sum(_stored(t) for t in (*tensors, *made))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            work.macs[str(tensors[0].dtype).removeprefix("torch.")] += formula(*args, **kwargs, out_val=out) // 2
        return out
