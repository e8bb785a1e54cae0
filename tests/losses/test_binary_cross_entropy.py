"""Binary cross entropy of maps against loops over pixels."""

import pytest
import torch

from dygait.errors import UserError
from dygait.losses import LOSSES, build_loss, loss_problems
from reference import losses


def maps_and_masks(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand((3, 1, 4, 5), generator=generator, dtype=dtype)
    return maps, (torch.rand((3, 1, 4, 5), generator=generator) > 0.4).to(dtype)


@pytest.mark.parametrize("eps", [1e-9, 0.1])
def test_equals_the_loops(eps: float) -> None:
    maps, masks = maps_and_masks()
    maps[0, 0, 0, 0], masks[0, 0, 0, 0] = 0, 1  # the largest term possible: -log(eps)
    loss, statistics = build_loss({"type": "BinaryCrossEntropyLoss", "eps": eps})(maps, masks)
    plain = maps.flatten(1).tolist(), masks.flatten(1).int().tolist()
    terms = losses.binary_cross_entropy(*plain, eps)
    assert loss.item() == pytest.approx(losses.mean(terms), abs=1e-12)
    assert statistics["hard_loss"].item() == pytest.approx(max(terms), abs=1e-12)
    assert statistics["miou"].item() == pytest.approx(losses.mean_iou(*plain), abs=1e-8)


def test_defaults_and_gradient() -> None:
    maps, masks = maps_and_masks()
    loss = build_loss({"type": "BinaryCrossEntropyLoss"})
    plain = maps.flatten(1).tolist(), masks.flatten(1).int().tolist()
    assert loss(maps, masks)[0].item() == pytest.approx(losses.mean(losses.binary_cross_entropy(*plain, 1e-9)))
    assert torch.autograd.gradcheck(lambda y: loss(y, masks)[0], (maps.clamp(0.05, 0.95).requires_grad_(),))
    assert not loss.needs_whole_batch


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_saturated_maps_have_a_finite_loss(value: float) -> None:
    maps = torch.full((2, 1, 2, 2), value, requires_grad=True)
    loss, _ = build_loss({"type": "BinaryCrossEntropyLoss"})(maps, torch.zeros(2, 1, 2, 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(maps.grad).all()


def test_ids_are_no_masks() -> None:
    with pytest.raises(UserError, match=r"masks of the same shape"):
        build_loss({"type": "BinaryCrossEntropyLoss"})(torch.rand(2, 5, 3), torch.tensor([0, 1]))


def test_a_configuration_cannot_name_it() -> None:
    """It needs masks, and training has ids only."""
    (problem,) = loss_problems({"type": "BinaryCrossEntropyLoss", "eps": 1e-9, "loss_term_weight": 0.5})
    assert problem.path == ("type",)
    assert "masks" in problem.message
    assert [name for name in LOSSES.names() if loss_problems({"type": name})] == ["BinaryCrossEntropyLoss"]
