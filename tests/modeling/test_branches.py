"""The contributions of the branches of a DAM add up to its output; their energies in a whole network."""

import pytest
import torch
from torch import nn

from dygait.modeling import build_model
from dygait.modeling.branches import branch_energies, contributions
from dygait.modeling.dam import DAMOptions, DynamicStage, Form, Norm
from helpers.networks import randomise_statistics


def stage(norm: Norm, form: Form = "plain", **kind: bool) -> DynamicStage:
    torch.manual_seed(3)
    return randomise_statistics(DynamicStage(2, 3, 3, DAMOptions(norm, form, **kind)).double().eval())


def walk(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize("kind", [{}, {"dynamic": False}, {"spatial": False}], ids=str)
def test_the_branches_add_up_to_the_output(form: Form, kind: dict[str, bool]) -> None:
    module, x = stage("none", form, **kind), walk(2, 2, 5, 6, 4)
    added = contributions(module, x)
    assert list(added) == ["global", "dynamic", "spatial"][: 2 if kind == {"spatial": False} else 3]
    torch.testing.assert_close(sum(added.values()), module(x, None), atol=1e-12, rtol=0)


def test_with_batch_norm_the_shifts_are_missing() -> None:
    """By the formula of BatchNorm, element by element."""
    module, x = stage("batch"), walk(1, 2, 4, 5, 3)
    added = contributions(module, x)
    assert module.norm_global is not None
    assert module.norm_local is not None
    assert module.conv_spatial is not None
    moving = x - x.mean(2, keepdim=True)
    sums = {
        "global": (module.conv_global(x), module.norm_global.norm),
        "local": (module.conv_dynamic(moving) + module.conv_spatial(x), module.norm_local.norm),
    }
    shifts = torch.zeros_like(added["global"])
    for total, norm in sums.values():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - norm.running_mean * factor
        for c in range(3):
            shifts[:, c] += torch.where(factor[c] * total[:, c] + shift[c] > 0, shift[c], 0.0)
    torch.testing.assert_close(sum(added.values()) + shifts, module(x, None), atol=1e-12, rtol=0)


def test_a_sequence_alone_and_padded_are_the_same() -> None:
    module, alone = stage("none"), walk(1, 2, 4, 5, 3)
    padded = torch.cat([alone, torch.zeros(1, 2, 3, 5, 3, dtype=torch.float64)], 2)
    in_batch = contributions(module, padded, torch.tensor([4]))
    for branch, added in contributions(module, alone).items():
        torch.testing.assert_close(in_batch[branch][:, :, :3], added[:, :, :3], atol=1e-12, rtol=0)


def test_a_person_who_stands_still_has_no_dynamic_energy() -> None:
    still = walk(1, 2, 1, 5, 3).expand(1, 2, 6, 5, 3)
    added = contributions(stage("none"), still)
    assert added["dynamic"].abs().max() < 1e-14
    assert added["spatial"].abs().max() > 0.1


def test_energies_of_every_dam() -> None:
    """The shapes for every DAM; the values for the first: sums over its stages of means over channels."""
    model = build_model({"model": "DyGait", "variant": "deep", "channels": [2, 3, 3, 4], "bin_num": [4]}).eval()
    x = torch.rand(9, 16, 12)
    energies = branch_energies(model, x)
    assert {name: tuple(e["dynamic"].shape) for name, e in energies.items()} == {
        "backbone.dam0": (9, 16, 12), "backbone.dam1": (9, 8, 6), "backbone.dam2": (3, 8, 6),
        "backbone.dam3": (3, 4, 3), "backbone.dam4": (3, 4, 3),
    }  # fmt: skip
    first = model.get_submodule("backbone.dam0")
    with torch.no_grad():
        inputs = (x[None, None], first.stage1(x[None, None], None))
        for branch, energy in energies["backbone.dam0"].items():
            stages = zip((first.stage1, first.stage2), inputs, strict=True)
            expected = sum(contributions(s, stage_input)[branch][0].pow(2).mean(0) for s, stage_input in stages)
            torch.testing.assert_close(energy, expected, atol=1e-6, rtol=1e-4)


def test_the_network_is_left_as_it_was() -> None:
    model = build_model({"model": "DyGait", "variant": "shallow", "channels": [2, 3, 3], "bin_num": [4]}).eval()
    x = torch.rand(9, 16, 12)
    before = model(x[None]).inference
    branch_energies(model, x)
    assert all(not module._forward_pre_hooks for module in model.modules())
    torch.testing.assert_close(model(x[None]).inference, before, atol=0, rtol=0)


def test_a_network_without_dams_is_refused() -> None:
    with pytest.raises(ValueError, match="no Dynamic Augmentation Module"):
        branch_energies(nn.Conv2d(1, 1, 1), torch.zeros(3, 4, 4))
