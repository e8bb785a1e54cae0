"""Weights under OpenGait's names.

A model's attribute `opengait_names` maps the names of its tensors to OpenGait's: rules (pattern, replacement) of
`re.sub`, applied in turn to each of our names. Applied to all names of a model, they give a table that is read in
either direction. Shapes are the same on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

_WRAPPERS = ("module.", "_orig_mod.")  # prefixes of DistributedDataParallel and torch.compile


def opengait_names(model: nn.Module) -> dict[str, str]:
    """Return a mapping from our names of a model's tensors to OpenGait's; empty for a model that OpenGait lacks."""
    rules = getattr(model, "opengait_names", ())
    names = {}
    for ours in model.state_dict() if rules else ():
        theirs = ours
        for pattern, replacement in rules:
            theirs = re.sub(pattern, replacement, theirs)
        names[ours] = theirs
    assert len(set(names.values())) == len(names), "two of our tensors have one name in OpenGait"
    return names


def unwrapped(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove the prefixes that wrappers around the model have added to every name."""
    names = list(weights)
    while names and (prefix := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), None)):
        names = [n.removeprefix(prefix) for n in names]
    return dict(zip(names, weights.values(), strict=True))


def in_our_names(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], bool]:
    """Rename weights from OpenGait's names to ours, if most of them have OpenGait's, and return whether they do.

    Prefixes of wrappers are removed; names that the model does not have are kept.
    """
    weights = unwrapped(weights)
    our_names = {theirs: ours for ours, theirs in opengait_names(model).items()}
    if sum(n in our_names for n in weights) <= sum(n in our_names.values() for n in weights):
        return weights, False
    return {our_names.get(name, name): tensor for name, tensor in weights.items()}, True


def in_opengait_names(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename weights from our names to OpenGait's; names that the model does not have are kept."""
    names = opengait_names(model)
    return {names.get(name, name): tensor for name, tensor in weights.items()}
