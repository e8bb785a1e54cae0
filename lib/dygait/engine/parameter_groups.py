"""Weights that are trained at a learning rate of their own."""

from __future__ import annotations

import fnmatch
from typing import Any

from torch import nn

from dygait.config import Config
from dygait.engine.monitor import log
from dygait.errors import UserError

_RATES = ("max_lr", "base_lr")
"""Settings of schedulers that are learning rates, which would otherwise be the same for every group."""


def parameter_groups(config: Config, model: nn.Module) -> list[dict[str, Any]]:
    """Return the optimiser's groups: the weights that fit no pattern, if there are any, then one for each pattern.

    Raises:
        UserError: a pattern fits no weight that is trained, or only such as an earlier pattern has taken.
    """
    left = {name: p for name, p in model.named_parameters() if p.requires_grad}
    trained = list(left)
    groups: list[dict[str, Any]] = []
    for place, entry in enumerate(config.optimizer_cfg.param_groups):
        key = f"optimizer_cfg.param_groups.{place}.match"
        fits = fnmatch.filter(left, entry.match)
        if not fits and fnmatch.filter(trained, entry.match):
            raise UserError(f"{key}: all weights that fit {entry.match!r} are in an earlier group; put this one first")
        if not fits and fnmatch.filter(dict(model.named_parameters()), entry.match):
            raise UserError(f"{key}: all weights that fit {entry.match!r} are frozen by trainer_cfg.freeze")
        if not fits:
            raise UserError(
                f"{key}: no weight's name fits {entry.match!r}; the names begin with "
                f"{', '.join(dict.fromkeys(name.partition('.')[0] for name in trained))}"
            )
        own = entry.model_dump(exclude={"match"}, exclude_none=True)
        groups.append({"params": [left.pop(name) for name in fits], **own})
        said = ", ".join(f"{name} {value:g}" for name, value in own.items())
        log.info("optimiser: %d weights that fit %r have %s", len(fits), entry.match, said)
    return [{"params": list(left.values())}, *groups] if left else groups


def rates_of_groups(config: Config, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a scheduler's keywords; its learning rates, if it has any, in proportion to those of the groups."""
    keywords = config.scheduler_cfg.keywords
    if not config.optimizer_cfg.param_groups:
        return keywords
    factors = [group["lr"] / config.optimizer_cfg.lr for group in groups]
    for name in _RATES:
        if name in keywords:
            rate = keywords[name][0] if isinstance(keywords[name], list) else keywords[name]
            keywords[name] = [rate * factor for factor in factors]
    return keywords
