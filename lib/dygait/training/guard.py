"""Steps that must not be taken: a gradient that is not finite, or, where asked, one far larger than usual.

A step that is left out changes nothing: weights, optimiser and running statistics stay as they were; the schedule goes
on. A long row of such steps ends the run, with the batch saved for `dygait debug-batch`.

Whether to leave out a step is decided on the device, and the host, which is ahead of it, learns of it later: when an
iteration is logged or saved, and as soon as the steps that it does not know of could be a row that ends the run.
"""

from __future__ import annotations

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
        skipped: how many steps were left out, of those that were read.
        in_a_row: how many of them were the last ones.
        news: iteration and gradient norm of those left out that nobody has been told of; who tells empties it.
    """

    def __init__(self, buffers: Iterable[torch.Tensor], spike: float | None = None) -> None:
        self.buffers = list(buffers)
        self.spike = spike
        self.skipped = 0
        self.in_a_row = 0
        self.news: list[tuple[int, float]] = []
        self._norms = _padded([])
        self._before: list[torch.Tensor] = []
        self._unread: list[tuple[int, torch.Tensor]] = []

    def remember(self) -> None:
        """Take down the running statistics, before a step."""
        self._before = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def leaves_out(self, norm: torch.Tensor, iteration: int) -> torch.Tensor:
        """Tell whether to leave out the step of a gradient; if so, its traces are removed. Waits for nothing.

        Args:
            norm: the gradient's.
            iteration: which step it is, counted from 1.

        Returns:
            A bool without dimensions, where the norm is.
        """
        left_out = ~torch.isfinite(norm)
        if self.spike is not None:
            self._norms = self._norms.to(norm.device, non_blocking=True)
            known = ~self._norms.isnan()
            limit = self.spike * self._norms.nanquantile(0.5)
            left_out |= (known.sum() >= _ENOUGH) & (norm > limit)
            newest = torch.cat([self._norms[1:], norm.to(self._norms.dtype).view(1)])
            self._norms = torch.where(left_out, self._norms, newest)
        for buffer, value in zip(self.buffers, self._before, strict=True):
            torch.where(left_out, value, buffer, out=buffer)
        self._before = []
        self._unread.append((iteration, torch.stack([left_out.to(norm.dtype), norm])))
        return left_out

    def may_reach(self, limit: int) -> bool:
        """Tell whether so many steps in a row may have been left out, as far as is known without reading."""
        return self.in_a_row + len(self._unread) >= limit

    def read(self) -> None:
        """Count the steps since the last time; waits for the device."""
        unread, self._unread = self._unread, []
        rows = torch.stack([row for _, row in unread]).tolist() if unread else []
        for (iteration, _), (left_out, norm) in zip(unread, rows, strict=True):
            self.in_a_row = self.in_a_row + 1 if left_out else 0
            if left_out:
                self.skipped += 1
                self.news.append((iteration, norm))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds; waits for the device."""
        self.read()
        norms = [norm for norm in self._norms.tolist() if norm == norm]
        return {"skipped": self.skipped, "in_a_row": self.in_a_row, "norms": norms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        self.skipped, self.in_a_row = int(state["skipped"]), int(state["in_a_row"])
        self._norms = _padded(list(map(float, state["norms"])))
        self._unread = []


def _padded(norms: list[float]) -> torch.Tensor:
    """Return the last of norms, after as many NaN as are missing."""
    kept = norms[-_HISTORY:]
    return torch.tensor([float("nan")] * (_HISTORY - len(kept)) + kept, dtype=torch.float64)
