"""Skipping optimiser steps whose gradient is not finite or, optionally, far larger than usual.

A skipped step changes nothing but the schedule; `trainer_cfg.max_skipped` in a row end the run. The decision is made
on the device. The host, which runs ahead, reads it later: when an iteration is logged or saved, and as soon as enough
steps are unread to have ended the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from dygait import distributed
from dygait.data.collate import Batch
from dygait.errors import LocalError
from dygait.logs import log
from dygait.runs import sources
from dygait.runs.events import add_event
from dygait.runs.folder import RunFolder
from dygait.training.bad_batch import save_bad_batch

if TYPE_CHECKING:
    from dygait.training.trainer import Trainer

_HISTORY = 100
_MINIMUM_HISTORY = 20  # norms that are needed for a median


class StepGuard:
    """Decides by the norm of the gradient whether to skip a step, and restores the running statistics if so.

    The norm is the same on every process, and so is the decision. A norm is too large if it exceeds `spike` times the
    median of the last 100.

    Attributes:
        skipped: the number of skipped steps, of those read.
        consecutive: the number of consecutive skipped steps up to the last one read.
        unreported: iteration and gradient norm of skipped steps; the logging function clears it.
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
        """Return whether to skip a step by its gradient's norm, as a bool tensor, without synchronising the device.

        If so, the running statistics are restored. Iterations are counted from 1.
        """
        skip = ~torch.isfinite(norm)
        if self.spike is not None:
            self._norms = self._norms.to(norm.device, non_blocking=True)
            count = (~self._norms.isnan()).sum()
            limit = self.spike * self._norms.nanquantile(0.5)
            skip |= (count >= _MINIMUM_HISTORY) & (norm > limit)
            updated = torch.cat([self._norms[1:], norm.to(self._norms.dtype).view(1)])
            self._norms = torch.where(skip, self._norms, updated)
        for buffer, value in zip(self.buffers, self._saved_buffers, strict=True):
            torch.where(skip, value, buffer, out=buffer)
        self._saved_buffers = []
        self._unread.append((iteration, torch.stack([skip.to(norm.dtype), norm])))
        return skip

    def may_reach(self, limit: int) -> bool:
        """Return whether `limit` steps in a row may have been skipped, without reading the decisions."""
        return self.consecutive + len(self._unread) >= limit

    def read(self) -> None:
        """Read the decisions since the last call; synchronises the device."""
        unread, self._unread = self._unread, []
        rows = torch.stack([row for _, row in unread]).tolist() if unread else []
        for (iteration, _), (skip, norm) in zip(unread, rows, strict=True):
            self.consecutive = self.consecutive + 1 if skip else 0
            if skip:
                self.skipped += 1
                self.unreported.append((iteration, norm))

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; synchronises the device."""
        self.read()
        norms = [norm for norm in self._norms.tolist() if norm == norm]
        return {"skipped": self.skipped, "in_a_row": self.consecutive, "norms": norms}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`."""
        self.skipped, self.consecutive = int(state["skipped"]), int(state["in_a_row"])
        self._norms = _padded(list(map(float, state["norms"])))
        self._unread = []


def log_skipped_steps(guard: StepGuard, folder: RunFolder) -> None:
    """Log the steps skipped since the last call; synchronises the device, and so waits for all processes."""
    with distributed.collective("the gradient"):
        guard.read()
    for iteration, norm in guard.unreported:
        log.info("notice: iteration %d was skipped: its gradient has norm %g", iteration, norm)
        add_event(folder, "skipped step", iteration=iteration, gradient_norm=str(norm))
    guard.unreported.clear()


def stop_if_all_skipped(trainer: Trainer, folder: RunFolder, batch: Batch, source: sources.Source) -> None:
    """Save the batch and raise `LocalError` if the last `trainer_cfg.max_skipped` steps were all skipped."""
    consecutive, iteration = trainer.guard.consecutive, trainer.iteration
    if consecutive < trainer.config.trainer_cfg.max_skipped:
        return
    path = save_bad_batch(folder, trainer.config, trainer.network, batch, source, iteration)
    raise LocalError(
        f"iteration {iteration}: {consecutive} steps in a row were skipped because of their gradient "
        f"(trainer_cfg.max_skipped). Inspect the last batch with `dygait debug-batch {path}`; lower "
        f"optimizer_cfg.lr, or set trainer_cfg.grad_clip_norm, and continue with --resume"
    )


def _padded(norms: list[float]) -> torch.Tensor:
    """Return the last 100 norms, padded with NaN at the front."""
    norms = norms[-_HISTORY:]
    return torch.tensor([float("nan")] * (_HISTORY - len(norms)) + norms, dtype=torch.float64)
