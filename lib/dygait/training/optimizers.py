"""Building the optimiser of a configuration, and steps that are skipped on the device."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dygait.config.schema import Config, ParamGroupCfg
from dygait.errors import UserError
from dygait.logs import log
from dygait.runs.networks import matching_names
from dygait.training.muon import MuonAdamW

_FUSED = {"SGD", "Adam", "AdamW"}  # fused on CUDA and CPU in every supported version of PyTorch
_UNSUPPORTED = {"LBFGS", "Muon", "ReduceLROnPlateau"}  # step() needs a closure, matrices alone, or a metric


def named_classes(module: Any, base: type) -> dict[str, type]:
    """Return the supported subclasses of a base class in a module of PyTorch, by name."""
    names = {name for name in vars(module) if not name.startswith("_")} - {base.__name__, *_UNSUPPORTED}
    members = inspect.getmembers(module, lambda member: inspect.isclass(member) and issubclass(member, base))
    return {name: member for name, member in members if name in names}


OPTIMIZERS = {**named_classes(torch.optim, torch.optim.Optimizer), MuonAdamW.__name__: MuonAdamW}


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of the parameters that require a gradient, fused unless a keyword chooses otherwise."""
    section = config.optimizer_cfg
    groups = _parameter_groups(config, model)
    if section.solver == MuonAdamW.__name__:
        groups = _without_class_head(groups, model)
    parameters = [p for group in groups for p in group["params"]]
    keywords = section.keywords
    explicit = any(keywords.get(name) is not None for name in ("fused", "foreach", "differentiable"))
    fused = section.solver in _FUSED and not explicit and all(p.device.type in ("cpu", "cuda") for p in parameters)
    if fused:  # else PyTorch uses the foreach implementation where it is faster
        keywords = {**keywords, "fused": True}
    return OPTIMIZERS[section.solver](groups, lr=section.lr, **keywords)


def step_unless(skip: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take an optimiser step unless `skip`, a bool tensor without dimensions, is true.

    PyTorch's fused implementations decide on the device, as they do for a loss scaler. Others count their steps on the
    host, which has to wait for the decision, as has SGD with dampening, whose first step differs from the others.
    """
    if not all(group.get("fused") and not group.get("dampening") for group in optimizer.param_groups):
        if not skip:
            optimizer.step()
        return
    _start_momentum(optimizer)
    fused: Any = optimizer
    fused.grad_scale, fused.found_inf = None, skip.float()
    optimizer.step()
    del fused.grad_scale, fused.found_inf


def _start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Initialise missing momentum buffers with zero; fused SGD would leave them uninitialised in a skipped step."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load the state of any implementation (fused, foreach, plain) of an optimiser; `ValueError` if it does not fit."""
    flags = [{name: group[name] for name in ("fused", "foreach") if name in group} for group in optimizer.param_groups]
    groups = [{**group, **flag} for group, flag in zip(state["param_groups"], flags, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _without_class_head(groups: list[dict[str, Any]], model: nn.Module) -> list[dict[str, Any]]:
    """Move the class head of each group into a group of its own, which MuonAdamW updates as AdamW does."""
    heads = {p for name, p in model.named_parameters() if name in getattr(model, "class_head", ())}
    split: list[dict[str, Any]] = []
    for group in groups:
        hidden, head = ([p for p in group["params"] if (p in heads) is wanted] for wanted in (False, True))
        split += [{**group, "params": hidden}] if hidden else []
        split += [{**group, "params": head, "muon": False}] if head else []
    return split


def _parameter_groups(config: Config, model: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups: the weights that match no pattern, if any, then one group for each pattern.

    The patterns are those of the configuration or, if it has none, of the model's attribute `param_groups`.

    Raises:
        UserError: a pattern matches no trained weight, or only weights of earlier groups.
    """
    remaining = {name: p for name, p in model.named_parameters() if p.requires_grad}
    trained = set(remaining)
    groups: list[dict[str, Any]] = []
    model_groups = [ParamGroupCfg(**group) for group in getattr(model, "param_groups", ())]
    for index, entry in enumerate(config.optimizer_cfg.param_groups or model_groups):
        key = f"optimizer_cfg.param_groups.{index}.match"
        matching = matching_names(dict(model.named_parameters()), entry.match, key)
        names = [name for name in matching if name in remaining]
        if not names and any(name in trained for name in matching):
            raise UserError(f"{key}: {entry.match!r} matches only weights of earlier groups; put this one first")
        if not names:
            raise UserError(f"{key}: all weights that match {entry.match!r} are frozen by trainer_cfg.freeze")
        settings = entry.model_dump(exclude={"match"}, exclude_none=True)
        groups.append({"params": [remaining.pop(name) for name in names], **settings})
        shown = ", ".join(f"{name} {value:g}" for name, value in settings.items())
        log.info("optimiser: %d weights that match %r have %s", len(names), entry.match, shown)
    return [{"params": list(remaining.values())}, *groups] if remaining else groups
