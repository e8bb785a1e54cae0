"""From a configuration to its learning rate schedule: PyTorch's, with their warm-up, and one that it lacks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from dygait.config import Config
from dygait.errors import UserError
from dygait.training.optimizers import named_classes


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


SCHEDULERS: dict[str, type] = {
    **named_classes(torch.optim.lr_scheduler, LRScheduler),
    CosineStepLR.__name__: CosineStepLR,
}


def build_scheduler(config: Config, optimizer: torch.optim.Optimizer, least_lr: float = 0.0) -> LRScheduler:
    """Build the learning rate's schedule, which keeps it at `least_lr`; `UserError` if it ends before the run does."""
    section = config.scheduler_cfg
    keywords = _rates_of_groups(config, optimizer.param_groups)
    kind = _bounded(SCHEDULERS[section.scheduler], least_lr) if least_lr else SCHEDULERS[section.scheduler]
    scheduler: LRScheduler = kind(optimizer, **keywords)
    steps, wanted = getattr(scheduler, "total_steps", None), config.trainer_cfg.total_iter
    if isinstance(steps, int) and steps < wanted:
        raise UserError(
            f"scheduler_cfg: {section.scheduler} ends after {steps} steps, but trainer_cfg.total_iter is {wanted}; "
            f"set both to the same number"
        )
    return scheduler


def _bounded(kind: Any, least_lr: float) -> type:
    """Return a kind of scheduler whose learning rates are never below a number."""

    class Bounded(kind):
        def get_lr(self) -> list[float]:
            return [max(least_lr, rate) for rate in super().get_lr()]

    return Bounded


def _rates_of_groups(config: Config, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a scheduler's keywords; its learning rates, if it has any, in proportion to those of the groups."""
    keywords = config.scheduler_cfg.keywords
    if len(groups) == 1:
        return keywords
    factors = [group["lr"] / config.optimizer_cfg.lr for group in groups]
    for name in keywords.keys() & {"max_lr", "base_lr"}:
        rate = keywords[name][0] if isinstance(keywords[name], list) else keywords[name]
        keywords[name] = [rate * factor for factor in factors]
    return keywords
