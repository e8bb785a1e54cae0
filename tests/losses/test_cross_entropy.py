"""Cross entropy over parts against the definition in loops."""

import pytest
import torch

from dygait.losses import build_loss
from dygait.losses.cross_entropy import CrossEntropyLoss
from reference import losses

LABELS = [0, 4, 2, 2]


def logits(dtype: torch.dtype = torch.float64, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn((4, 5, 3), generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("scale", [1.0, 16.0, 200.0])  # 200 overflows unless softmax subtracts the maximum
@pytest.mark.parametrize(("label_smooth", "eps"), [(False, 0.1), (True, 0.1), (True, 0.3), (True, 0.0)])
def test_equals_the_loops(scale: float, label_smooth: bool, eps: float) -> None:
    x = logits()
    loss, statistics = CrossEntropyLoss(scale, label_smooth, eps)(x, torch.tensor(LABELS))
    expected = losses.cross_entropy(x.tolist(), LABELS, scale, eps if label_smooth else 0.0)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert statistics.keys() == {"loss"}


def test_defaults_are_those_of_opengait() -> None:
    x = logits()
    loss = build_loss({"type": "CrossEntropyLoss"})(x, torch.tensor(LABELS))[0]
    assert loss.item() == pytest.approx(losses.cross_entropy(x.tolist(), LABELS, 16.0, 0.1), rel=1e-12)


@pytest.mark.parametrize("label_smooth", [False, True])
def test_gradient(label_smooth: bool) -> None:
    x = logits().requires_grad_()
    loss = CrossEntropyLoss(2.0, label_smooth)
    assert torch.autograd.gradcheck(lambda y: loss(y, torch.tensor(LABELS))[0], (x,))


def test_accuracy() -> None:
    x = logits()
    x[0, 0] = 9.0  # all parts of the first are correct
    _, statistics = CrossEntropyLoss(log_accuracy=True)(x, torch.tensor(LABELS))
    assert statistics["accuracy"].item() == pytest.approx(losses.accuracy(x.tolist(), LABELS))
    assert 0.25 <= statistics["accuracy"].item() < 1
