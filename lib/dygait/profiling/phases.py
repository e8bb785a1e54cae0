"""Time of each phase of the training step, measured from outside of the trainer."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dygait.training.trainer import Trainer

PHASES = ("data wait", "transfer", "forward", "loss", "backward", "optimiser")
"""`transfer` is everything before the network; `backward` everything between losses and optimiser, gradient norm
included; `optimiser` the rest, schedule included."""


class _TimedModel(nn.Module):
    """Notifies the clock when the network runs; a wrapper, because hooks of a compiled network are compiled too."""

    def __init__(self, model: nn.Module, clock: PhaseClock) -> None:
        super().__init__()
        self.model = model
        self.clock = clock

    def forward(self, *inputs: Any) -> Any:
        """Run the network."""
        self.clock.enter("forward")
        output = self.model(*inputs)
        # With accumulation, most parts run forward twice: for the losses, then for the backward pass.
        self.clock.enter("backward" if self.clock.losses_done else "loss")
        return output


class PhaseClock:
    """Measures the phases of a trainer's steps inside a `with` block.

    Each phase is also a named range in a `torch.profiler` trace.

    Args:
        waits: synchronise with the GPU at every change of phase.
        on_phase: called with each phase that starts.

    Attributes:
        steps: the seconds of every phase, for each finished step.
    """

    def __init__(
        self, trainer: Trainer, waits: bool = True, on_phase: Callable[[str], None] = lambda phase: None
    ) -> None:
        self.phase = PHASES[0]
        self.losses_done = False  # of the current step
        self.steps: list[dict[str, float]] = []
        self._trainer = trainer
        self._on_phase = on_phase
        self._device = trainer.device if waits and trainer.device.type == "cuda" else None
        self._seconds: dict[str, float] = defaultdict(float)
        self._phase_start = time.perf_counter()
        self._range = contextlib.ExitStack()
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
        self._range.close()

    def _after_losses(self) -> None:
        self.losses_done = True
        self.enter("backward")

    def enter(self, phase: str) -> None:
        """End the current phase and start another."""
        if self._device is not None:
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._seconds[self.phase] += now - self._phase_start
        self._phase_start = now
        self._range.close()
        self.phase = phase
        self._on_phase(phase)
        self._range.enter_context(torch.profiler.record_function(phase))

    def begin(self) -> None:
        """Start a step with the wait for its data; the time since the last step is not counted."""
        self.enter("data wait")
        self._seconds.clear()
        self.losses_done = False

    def end(self) -> None:
        """End a step."""
        self.enter("data wait")
        self.steps.append({phase: self._seconds[phase] for phase in PHASES})
