"""Which phase of the training step runs, and for how long, seen from outside: the loop knows nothing of it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dygait.training.trainer import Trainer

PHASES = ("data wait", "transfer", "forward", "loss", "backward", "optimiser")
"""`transfer` holds all that comes before the network; `backward` what lies between losses and optimiser: the gradient's
norm too; `optimiser` what follows, the schedule too."""


class _TimedModel(nn.Module):
    """A network that reports when it runs; from outside, because hooks on a compiled one would be compiled too."""

    def __init__(self, model: nn.Module, clock: PhaseClock) -> None:
        super().__init__()
        self.model = model
        self.clock = clock

    def forward(self, *inputs: Any) -> Any:
        """Run the network."""
        self.clock.enter("forward")
        output = self.model(*inputs)
        # Of a batch in parts, most are computed once for the losses, and again to go backward.
        self.clock.enter("backward" if self.clock.losses_done else "loss")
        return output


class PhaseClock:
    """Follows a trainer's steps from its network, losses and optimiser; use it as a `with` block.

    Each phase is a named range in a `torch.profiler` trace too.

    Args:
        trainer: whose steps.
        waits: wait for the GPU at every change of phase, so that a phase's time is its own.
        on_phase: called with each phase that begins.

    Attributes:
        phase: the one that runs.
        losses_done: whether the step's losses are computed.
        steps: of each finished step, the seconds of every phase.
    """

    def __init__(
        self, trainer: Trainer, waits: bool = True, on_phase: Callable[[str], None] = lambda phase: None
    ) -> None:
        self.phase = PHASES[0]
        self.losses_done = False
        self.steps: list[dict[str, float]] = []
        self._trainer = trainer
        self._on_phase = on_phase
        self._device = trainer.device if waits and trainer.device.type == "cuda" else None
        self._seconds: dict[str, float] = defaultdict(float)
        self._since = time.perf_counter()
        self._range: Any = None
        self._handles: list[Any] = []

    def __enter__(self) -> PhaseClock:
        self._model = self._trainer.model
        self._trainer.model = _TimedModel(self._model, self)
        self._handles = [
            self._trainer.losses.register_forward_hook(lambda *_: self._after_losses()),
            self._trainer.optimizer.register_step_pre_hook(lambda *_: self.enter("optimiser")),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._trainer.model = self._model
        self._close_range()

    def _after_losses(self) -> None:
        self.losses_done = True
        self.enter("backward")

    def _close_range(self) -> None:
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None

    def enter(self, phase: str) -> None:
        """End the phase that runs and begin another."""
        if self._device is not None:
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._seconds[self.phase] += now - self._since
        self._since = now
        self._close_range()
        self.phase = phase
        self._on_phase(phase)
        self._range = torch.profiler.record_function(phase)
        self._range.__enter__()

    def begin(self) -> None:
        """Begin a step, with the wait for its data; what happened since the last one is not counted."""
        self.enter("data wait")
        self._seconds.clear()
        self.losses_done = False

    def end(self) -> None:
        """End a step."""
        self.enter("data wait")
        self.steps.append({phase: self._seconds[phase] for phase in PHASES})
