"""The contribution of each branch of the Dynamic Augmentation Modules to their output, computed in forward hooks.

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
"""Name of a DAM -> name of a branch -> energy (S', H', W')."""


def contributions(stage: DynamicStage, x: torch.Tensor, lengths: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Return the contribution of each branch of a stage to its output in evaluation mode.

    The contribution is the branch's convolution where the ReLU after it is active, and zero elsewhere. The dynamic and
    the spatial branch share a ReLU. A BatchNorm before it scales the contributions; its shift belongs to no branch.
    Without BatchNorm the contributions sum to the output.

    Args:
        x: (N, C_in, S, H, W), zero in padding.

    Returns:
        (N, C_out, S, H, W) for `global` and `dynamic`, and for `spatial` if the stage has that branch.
    """
    motion = zero_padding(x - temporal_mean(x, lengths), lengths) if stage.options.dynamic else x
    local = {"dynamic": stage.conv_dynamic(motion)}
    if stage.conv_spatial is not None:
        local["spatial"] = stage.conv_spatial(x)
    return _active({"global": stage.conv_global(x)}, stage.norm_global) | _active(local, stage.norm_local)


def _active(branches: dict[str, torch.Tensor], norm: FrameBatchNorm | None) -> dict[str, torch.Tensor]:
    """Return the branches, scaled by the norm, and set to zero where their normalised sum is not positive."""
    total: torch.Tensor = sum(branches.values())  # type: ignore[assignment]
    if norm is not None:
        factor, shift = (numbers.view(-1, 1, 1, 1) for numbers in norm.factor_and_shift())
        branches = {name: factor * branch for name, branch in branches.items()}
        total = factor * total + shift
    return {name: branch * (total > 0) for name, branch in branches.items()}


def branch_energies(network: nn.Module, silhouettes: torch.Tensor) -> Energies:
    """Return how strongly the branches of each DAM of a network respond to one sequence, at each frame and pixel.

    The energy of a branch at a pixel of a frame is the mean over the channels of its squared contribution
    (`contributions`), summed over the two stages of the DAM. S' is S, or S // 3 after the temporal aggregation; H' and
    W' are H and W, halved by each pooling before the DAM.

    Args:
        network: in evaluation mode.
        silhouettes: float (S, H, W) in 0..1, S at least 3.

    Returns:
        Energies float (S', H', W') by DAM, in the order of computation, and by branch.

    Raises:
        ValueError: the network has no DAM.
    """
    dams = {name: module for name, module in network.named_modules() if isinstance(module, DynamicAugmentation)}
    if not dams:
        raise ValueError("the network has no Dynamic Augmentation Module")
    energies: Energies = {name: {} for name in dams}
    handles = [
        stage.register_forward_pre_hook(_hook(energies[name]))
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


def _hook(energies: dict[str, torch.Tensor]) -> Callable[[nn.Module, tuple[torch.Tensor, torch.Tensor | None]], None]:
    """Return a hook that adds a stage's energies for the first sequence of a batch to `energies`."""

    def hook(stage: nn.Module, inputs: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        assert isinstance(stage, DynamicStage)
        for branch, contribution in contributions(stage, *inputs).items():
            energy = contribution[0].square().mean(0)
            energies[branch] = energies[branch] + energy if branch in energies else energy

    return hook
