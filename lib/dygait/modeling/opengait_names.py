"""Weights under OpenGait's names.

A model's attribute `opengait_names` maps the names of its tensors to OpenGait's: rules (pattern, replacement) of
`re.sub`, applied in turn to each of our names. The way back needs no rules of its own: a model's own names,
renamed, are a table that is read in either direction. Shapes are the same on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

_WRAPPERS = ("module.", "_orig_mod.")  # of DistributedDataParallel, and of torch.compile


def opengait_names(model: nn.Module) -> dict[str, str]:
    """Return OpenGait's name for each of our names of a model's tensors; empty for a model that OpenGait lacks."""
    rules = getattr(model, "opengait_names", ())
    names = {}
    for own in model.state_dict() if rules else ():
        name = own
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        names[own] = name
    assert len(set(names.values())) == len(names), "two of our tensors have one name in OpenGait"
    return names


def unwrapped(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights without the prefix that a wrapper around the model has put before every name."""
    names = list(weights)
    while names and (prefix := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), None)):
        names = [n.removeprefix(prefix) for n in names]
    return dict(zip(names, weights.values(), strict=True))


def in_our_names(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], bool]:
    """Rename weights that a file holds under OpenGait's names, and return whether it does: the majority decides.

    A wrapper's prefix is removed, and names that the model does not have stay.
    """
    found = unwrapped(weights)
    theirs = {theirs: ours for ours, theirs in opengait_names(model).items()}
    if sum(n in theirs for n in found) <= sum(n in theirs.values() for n in found):
        return found, False
    return {theirs.get(name, name): tensor for name, tensor in found.items()}, True


def in_opengait_names(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename weights from the model's names to OpenGait's; names that the model does not have stay."""
    names = opengait_names(model)
    return {names.get(name, name): tensor for name, tensor in weights.items()}
