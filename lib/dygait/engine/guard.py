"""Steps that must not be taken: a gradient that is not finite, or, where asked, one far larger than usual.

A step that is left out changes nothing: weights, optimiser and running statistics stay as they were; the schedule goes
on. A long row of such steps ends the run, with the batch saved for `dygait debug-batch`.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch

_HISTORY = 100
_ENOUGH = 20
"""So many norms must be known before one can be called unusual."""


class StepGuard:
    """Judges gradients by their norm, and brings back the running statistics of a step that is left out.

    The norm is the same on every process, so all judge alike.

    Args:
        buffers: the network's buffers.
        spike: leave out a step whose gradient norm is more than so many times the median of the last 100; None: none.

    Attributes:
        skipped: how many steps were left out.
        in_a_row: how many of them were the last ones.
    """

    def __init__(self, buffers: Iterable[torch.Tensor], spike: float | None = None) -> None:
        self.buffers = list(buffers)
        self.spike = spike
        self.norms: deque[float] = deque(maxlen=_HISTORY)
        self.skipped = 0
        self.in_a_row = 0
        self._before: list[torch.Tensor] = []

    def remember(self) -> None:
        """Take down the running statistics, before a step."""
        self._before = [buffer.clone() for buffer in self.buffers]

    def allows(self, norm: torch.Tensor) -> bool:
        """Tell whether to take the step of a gradient; if not, its traces are removed.

        Reads one number from the device.
        """
        size = float(norm)
        good = math.isfinite(size) and not self._is_spike(size)
        if good:
            self.in_a_row = 0
            if self.spike is not None:
                self.norms.append(size)
        else:
            self.skipped += 1
            self.in_a_row += 1
            for buffer, value in zip(self.buffers, self._before, strict=True):
                buffer.copy_(value)
        self._before = []
        return good

    def _is_spike(self, size: float) -> bool:
        if self.spike is None or len(self.norms) < _ENOUGH:
            return False
        return size > self.spike * statistics.median(self.norms)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row, "norms": list(self.norms)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])
        self.norms = deque(map(float, state["norms"]), maxlen=_HISTORY)
