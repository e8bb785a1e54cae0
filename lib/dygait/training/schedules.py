"""A learning rate schedule that PyTorch lacks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler


class CosineStepLR(LRScheduler):
    """Half a cosine from the initial learning rate, which is held for some iterations at a time, then a constant.

    At iteration t it is the initial learning rate times (1 + cos(pi t' / T_max)) / 2, but at least `eta_min`; t' is t
    rounded down to a multiple of `step_size`. From T_max on it is `eta_min`. SwinGait's, in OpenGait.

    Args:
        optimizer: whose groups' learning rates are set.
        T_max: the iteration at which the cosine ends.
        step_size: how many iterations a learning rate is held.
        eta_min: the smallest learning rate, of every group.
        last_epoch: the iteration before the first; -1 at the start.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        T_max: int,
        step_size: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_max < 1 or step_size < 1:
            raise ValueError(f"T_max and step_size must be at least 1, got {T_max} and {step_size}")
        self.T_max, self.step_size, self.eta_min = T_max, step_size, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return each group's learning rate at the present iteration."""
        if self.last_epoch >= self.T_max:
            return [self.eta_min] * len(self.base_lrs)
        held = self.last_epoch // self.step_size * self.step_size
        factor = (1 + math.cos(math.pi * held / self.T_max)) / 2
        return [max(rate * factor, self.eta_min) for rate in self.base_lrs]
