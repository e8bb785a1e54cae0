"""From a configuration to its optimiser, and a step that is skipped on the device."""

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

_FUSED = {"SGD", "Adam", "AdamW"}  # have a fused implementation on CUDA and CPU in every supported version
_UNSUPPORTED = {"LBFGS", "ReduceLROnPlateau"}  # step() needs a closure or a metric


def named_classes(module: Any, base: type) -> dict[str, type]:
    """Return the subclasses of a base class that a module of PyTorch has and that can be used here, by name."""
    names = {name for name in vars(module) if not name.startswith("_")} - {base.__name__, *_UNSUPPORTED}
    found = inspect.getmembers(module, lambda entry: inspect.isclass(entry) and issubclass(entry, base))
    return {name: entry for name, entry in found if name in names}


OPTIMIZERS = named_classes(torch.optim, torch.optim.Optimizer)


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of the parameters that require a gradient, fused unless the user chose another form."""
    section = config.optimizer_cfg
    groups = _parameter_groups(config, model)
    parameters = [p for group in groups for p in group["params"]]
    keywords = section.keywords
    chosen = any(keywords.get(name) is not None for name in ("fused", "foreach", "differentiable"))
    fused = section.solver in _FUSED and not chosen and all(p.device.type in ("cpu", "cuda") for p in parameters)
    if fused:  # else PyTorch takes the foreach form where it is faster
        keywords = {**keywords, "fused": True}
    return OPTIMIZERS[section.solver](groups, lr=section.lr, **keywords)


def step_unless(skip: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take an optimiser step unless `skip`, a bool tensor without dimensions, is true.

    PyTorch's fused implementations decide on the device, as they do for a loss scaler. Others count their steps on the
    host, which has to wait for the decision; so does SGD with dampening, whose first step differs from the others.
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
    """Initialise missing momentum buffers with zero: fused SGD would leave them uninitialised in a skipped step."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state, of any form (fused, foreach, plain) of its class; `ValueError` if it does not fit."""
    forms = [{name: group[name] for name in ("fused", "foreach") if name in group} for group in optimizer.param_groups]
    groups = [{**group, **form} for group, form in zip(state["param_groups"], forms, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _parameter_groups(config: Config, model: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups: the weights that match no pattern, if any, then one for each pattern.

    The patterns are those of the configuration or, if it has none, of the model's attribute `param_groups`.

    Raises:
        UserError: a pattern matches no trained weight, or only weights of earlier groups.
    """
    unassigned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    trained = set(unassigned)
    groups: list[dict[str, Any]] = []
    of_model = [ParamGroupCfg(**group) for group in getattr(model, "param_groups", ())]
    for index, entry in enumerate(config.optimizer_cfg.param_groups or of_model):
        key = f"optimizer_cfg.param_groups.{index}.match"
        of_name = matching_names(dict(model.named_parameters()), entry.match, key)
        matching = [name for name in of_name if name in unassigned]
        if not matching and any(name in trained for name in of_name):
            raise UserError(f"{key}: {entry.match!r} matches only weights of earlier groups; put this one first")
        if not matching:
            raise UserError(f"{key}: all weights that match {entry.match!r} are frozen by trainer_cfg.freeze")
        own = entry.model_dump(exclude={"match"}, exclude_none=True)
        groups.append({"params": [unassigned.pop(name) for name in matching], **own})
        options = ", ".join(f"{name} {value:g}" for name, value in own.items())
        log.info("optimiser: %d weights that match %r have %s", len(matching), entry.match, options)
    return [{"params": list(unassigned.values())}, *groups] if unassigned else groups
