"""What each branch of the Dynamic Augmentation Modules adds to their output, read from a network by forward hooks.

N sequences, C channels, S frames, H x W pixels; `lengths` as in `dygait.modeling.layers`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from dygait.modeling.dam import DynamicAugmentation, DynamicStage
from dygait.modeling.layers import FrameBatchNorm, temporal_mean, zero_padding

BRANCHES = ("global", "dynamic", "spatial")

Energies = dict[str, dict[str, torch.Tensor]]
"""The name of a DAM -> of a branch -> its energy (S', H', W')."""


def contributions(stage: DynamicStage, x: torch.Tensor, lengths: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Return what the branches of a stage add to its output in evaluation mode.

    A branch adds its convolution where the relu that follows is positive, and nothing where it is not. Dynamic and
    spatial branch share a relu. A BatchNorm before it is a factor on the convolution and a shift, which is no branch's.
    Without BatchNorm the branches add up to the output.

    Args:
        x: (N, C_in, S, H, W), zero in padding.

    Returns:
        (N, C_out, S, H, W) of `global` and `dynamic`, and of `spatial` if the stage has that branch.
    """
    moving = zero_padding(x - temporal_mean(x, lengths), lengths) if stage.options.dynamic else x
    local = {"dynamic": stage.conv_dynamic(moving)}
    if stage.conv_spatial is not None:
        local["spatial"] = stage.conv_spatial(x)
    return _passed({"global": stage.conv_global(x)}, stage.norm_global) | _passed(local, stage.norm_local)


def _passed(branches: dict[str, torch.Tensor], norm: FrameBatchNorm | None) -> dict[str, torch.Tensor]:
    """Return the branches, which are added, where the relu after their sum is positive, else zeros."""
    total: torch.Tensor = sum(branches.values())  # type: ignore[assignment]
    if norm is not None:
        factor, shift = (numbers.view(-1, 1, 1, 1) for numbers in norm.factor_and_shift())
        branches = {name: factor * added for name, added in branches.items()}
        total = factor * total + shift
    return {name: added * (total > 0) for name, added in branches.items()}


def branch_energies(network: nn.Module, silhouettes: torch.Tensor) -> Energies:
    """Return where the branches of each DAM of a network respond to one sequence, and how strongly.

    The energy of a branch at a pixel of a frame is the mean over the channels of its squared contribution
    (`contributions`), summed over the two stages of the DAM. S' is S, or S // 3 after the temporal aggregation; H' and
    W' are H and W, halved by each pooling before the DAM.

    Args:
        network: in evaluation mode.
        silhouettes: float (S, H, W) in 0..1, S at least 3.

    Returns:
        By DAM, in the order of computation, and by branch: float (S', H', W').

    Raises:
        ValueError: the network has no DAM.
    """
    dams = {name: module for name, module in network.named_modules() if isinstance(module, DynamicAugmentation)}
    if not dams:
        raise ValueError("the network has no Dynamic Augmentation Module")
    energies: Energies = {name: {} for name in dams}
    handles = [
        stage.register_forward_pre_hook(_add_to(energies[name]))
        for name, dam in dams.items()
        for stage in (dam.stage1, dam.stage2)
    ]
    try:
        with torch.inference_mode():
            network(silhouettes[None])
    finally:
        for handle in handles:
            handle.remove()
    return energies


def _add_to(energies: dict[str, torch.Tensor]) -> Callable[[nn.Module, tuple[torch.Tensor, torch.Tensor | None]], None]:
    """Return a hook that adds a stage's energies of the first sequence of a batch to those of its DAM."""

    def hook(stage: nn.Module, inputs: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        assert isinstance(stage, DynamicStage)
        for branch, added in contributions(stage, *inputs).items():
            energy = added[0].square().mean(0)
            energies[branch] = energies[branch] + energy if branch in energies else energy

    return hook
