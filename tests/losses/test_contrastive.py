"""The supervised contrastive loss against loops over pairs."""

from typing import Any

import pytest
import torch

from dygait.errors import UserError
from dygait.losses import build_loss
from reference import losses

LABELS = {"even": [0, 0, 1, 1], "uneven": [2, 5, 2, 2, 0], "all different": [3, 1, 2]}


def features(n: int, views: int, size: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn((n, views, size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize(
    ("keywords", "reference_arguments"),
    [
        ({}, (0.01, 0.07)),
        ({"temperature": 0.5, "base_temperature": 0.2}, (0.5, 0.2)),
        ({"temperature": 0.5, "contrast_mode": "one"}, (0.5, 0.07, True)),
        ({"temperature": 0.5, "reduce_zero": True, "p": 2}, (0.5, 0.07, False, True, 2)),
        ({"temperature": 0.3, "p": 3}, (0.3, 0.07, False, False, 3)),
    ],
)
def test_equals_the_loops(
    case: str, views: int, keywords: dict[str, Any], reference_arguments: tuple[Any, ...]
) -> None:
    labels, x = LABELS[case], features(len(LABELS[case]), views)
    loss, statistics = build_loss({"type": "SupConLoss", **keywords})(x, torch.tensor(labels))
    expected = losses.contrastive(x.tolist(), labels, *reference_arguments)
    assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert (expected > 1e-3) == (views > 1 or case != "all different"), "zeros would prove nothing"
    assert statistics.keys() == {"loss"}


@pytest.mark.parametrize("shape", [(5, 4), (5, 2, 3)])
def test_euclidean_takes_each_sequence_as_one_view(shape: tuple[int, ...]) -> None:
    labels, x = LABELS["uneven"], torch.randn(shape, dtype=torch.float64)
    loss, _ = build_loss({"type": "SupConLoss_Lp", "temperature": 0.2})(x, torch.tensor(labels))
    walks = x.flatten(1).unsqueeze(1).tolist()
    assert loss.item() == pytest.approx(losses.contrastive(walks, labels, 0.2, 0.2, reduce_zero=True, p=2), rel=1e-6)


def test_by_part_is_the_mean_over_parts() -> None:
    labels, x = torch.tensor(LABELS["uneven"]), features(5, 4, 3)
    by_part, _ = build_loss({"type": "SupConLoss", "temperature": 0.5, "by_part": True})(x, labels)
    each = [build_loss({"type": "SupConLoss", "temperature": 0.5})(x[:, None, :, p], labels)[0] for p in range(3)]
    assert by_part.item() == pytest.approx(torch.stack(each).mean().item(), abs=1e-12)


@pytest.mark.parametrize("keywords", [{}, {"p": 2, "reduce_zero": True}, {"by_part": True}], ids=str)
def test_gradient(keywords: dict[str, Any]) -> None:
    loss = build_loss({"type": "SupConLoss", "temperature": 0.7, **keywords})
    labels, x = torch.tensor(LABELS["uneven"]), features(5, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: loss(y, labels)[0], (x,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize(("n", "views"), [(1, 1), (2, 1)])
def test_without_a_positive_the_loss_and_its_gradient_are_zero(n: int, views: int) -> None:
    x = features(n, views).requires_grad_()
    loss, _ = build_loss({"type": "SupConLoss", "reduce_zero": True})(x, torch.arange(n))
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


def test_features_without_views() -> None:
    with pytest.raises(UserError, match=r"SupConLoss reads .*\[4, 6\]"):
        build_loss({"type": "SupConLoss"})(torch.zeros(4, 6), torch.arange(4))
