"""Building the learning rate scheduler of a configuration: one of PyTorch's, or `CosineStepLR`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from dygait.config import Config
from dygait.errors import UserError
from dygait.training.optimizers import named_classes


class CosineStepLR(LRScheduler):
    """Half a cosine from the initial learning rate in steps of several iterations, then a constant.

    At iteration t the learning rate is the initial one times (1 + cos(pi t' / T_max)) / 2, but at least `eta_min`; t'
    is t rounded down to a multiple of `step_size`. From T_max on it is `eta_min`. SwinGait's schedule in OpenGait.

    Args:
        optimizer: the wrapped optimiser.
        T_max: the iteration at which the cosine ends.
        step_size: the number of iterations for which a learning rate is kept.
        eta_min: the smallest learning rate, of every group.
        last_epoch: the index of the last iteration; -1 at the start.
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
        """Return the learning rate of each group at the current iteration."""
        if self.last_epoch >= self.T_max:
            return [self.eta_min] * len(self.base_lrs)
        start = self.last_epoch // self.step_size * self.step_size
        factor = (1 + math.cos(math.pi * start / self.T_max)) / 2
        return [max(rate * factor, self.eta_min) for rate in self.base_lrs]


SCHEDULERS: dict[str, type] = {
    **named_classes(torch.optim.lr_scheduler, LRScheduler),
    CosineStepLR.__name__: CosineStepLR,
}


def build_scheduler(config: Config, optimizer: torch.optim.Optimizer, least_lr: float = 0.0) -> LRScheduler:
    """Build the scheduler, with learning rates of at least `least_lr`; `UserError` if it ends before the run does."""
    section = config.scheduler_cfg
    keywords = _scaled_keywords(config, optimizer.param_groups)
    scheduler_class = SCHEDULERS[section.scheduler]
    if least_lr:
        scheduler_class = _bounded(scheduler_class, least_lr)
    scheduler: LRScheduler = scheduler_class(optimizer, **keywords)
    steps, total = getattr(scheduler, "total_steps", None), config.trainer_cfg.total_iter
    if isinstance(steps, int) and steps < total:
        raise UserError(
            f"scheduler_cfg: {section.scheduler} ends after {steps} steps, but trainer_cfg.total_iter is {total}; "
            f"set both to the same number"
        )
    return scheduler


def _bounded(scheduler_class: Any, least_lr: float) -> type:
    """Return a subclass of a scheduler class whose learning rates are at least `least_lr`."""

    class Bounded(scheduler_class):
        def get_lr(self) -> list[float]:
            return [max(least_lr, rate) for rate in super().get_lr()]

    return Bounded


def _scaled_keywords(config: Config, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the scheduler's keywords, with learning rates among them in proportion to those of the groups."""
    keywords = config.scheduler_cfg.keywords
    if len(groups) == 1:
        return keywords
    factors = [group["lr"] / config.optimizer_cfg.lr for group in groups]
    for name in keywords.keys() & {"max_lr", "base_lr"}:
        rate = keywords[name][0] if isinstance(keywords[name], list) else keywords[name]
        keywords[name] = [rate * factor for factor in factors]
    return keywords
