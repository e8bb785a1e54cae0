"""Skipping optimiser steps whose gradient is not finite or, optionally, far larger than usual.

A skipped step changes nothing but the schedule; too many in a row end the run. The decision is made on the device. The
host, which runs ahead of it, reads it later: when an iteration is logged or saved, and as soon as the unread steps
could be a row that ends the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

_HISTORY = 100
_MINIMUM_HISTORY = 20  # norms before one is compared with their median


class StepGuard:
    """Decides by the norm of the gradient whether a step is skipped, and restores the running statistics if it is.

    The norm is the same on every process, and so is the decision. A norm is too large if it is more than `spike` times
    the median of the last 100.

    Attributes:
        skipped: how many steps were skipped, of those that were read.
        consecutive: how many of them were the last ones.
        unreported: iteration and gradient norm of skipped steps; whoever logs them clears it.
    """

    def __init__(self, buffers: Iterable[torch.Tensor], spike: float | None = None) -> None:
        self.buffers = list(buffers)
        self.spike = spike
        self.skipped = 0
        self.consecutive = 0
        self.unreported: list[tuple[int, float]] = []
        self._norms = _padded([])
        self._saved_buffers: list[torch.Tensor] = []
        self._unread: list[tuple[int, torch.Tensor]] = []

    def save_buffers(self) -> None:
        """Save the running statistics before a step."""
        self._saved_buffers = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def should_skip(self, norm: torch.Tensor, iteration: int) -> torch.Tensor:
        """Return whether to skip a step by its gradient's norm: a bool tensor on its device, which is not waited for.

        If so, the running statistics are restored. Iterations are counted from 1.
        """
        skip = ~torch.isfinite(norm)
        if self.spike is not None:
            self._norms = self._norms.to(norm.device, non_blocking=True)
            known = ~self._norms.isnan()
            limit = self.spike * self._norms.nanquantile(0.5)
            skip |= (known.sum() >= _MINIMUM_HISTORY) & (norm > limit)
            newest = torch.cat([self._norms[1:], norm.to(self._norms.dtype).view(1)])
            self._norms = torch.where(skip, self._norms, newest)
        for buffer, value in zip(self.buffers, self._saved_buffers, strict=True):
            torch.where(skip, value, buffer, out=buffer)
        self._saved_buffers = []
        self._unread.append((iteration, torch.stack([skip.to(norm.dtype), norm])))
        return skip

    def may_reach(self, limit: int) -> bool:
        """Return whether `limit` steps in a row may have been skipped, as far as is known without reading."""
        return self.consecutive + len(self._unread) >= limit

    def read(self) -> None:
        """Read the decisions since the last call; waits for the device."""
        unread, self._unread = self._unread, []
        rows = torch.stack([row for _, row in unread]).tolist() if unread else []
        for (iteration, _), (skip, norm) in zip(unread, rows, strict=True):
            self.consecutive = self.consecutive + 1 if skip else 0
            if skip:
                self.skipped += 1
                self.unreported.append((iteration, norm))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds; waits for the device."""
        self.read()
        norms = [norm for norm in self._norms.tolist() if norm == norm]
        return {"skipped": self.skipped, "in_a_row": self.consecutive, "norms": norms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what a checkpoint holds."""
        self.skipped, self.consecutive = int(state["skipped"]), int(state["in_a_row"])
        self._norms = _padded(list(map(float, state["norms"])))
        self._unread = []


def _padded(norms: list[float]) -> torch.Tensor:
    """Return the last of norms, after as many NaN as are missing."""
    kept = norms[-_HISTORY:]
    return torch.tensor([float("nan")] * (_HISTORY - len(kept)) + kept, dtype=torch.float64)
