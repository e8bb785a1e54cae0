"""The batch-all triplet loss against three nested loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.errors import UserError
from dygait.losses import build_loss
from dygait.losses.triplet import TripletLoss
from reference import losses

LABELS = {
    "even": [0, 0, 1, 1, 2, 2],
    "mixed up": [2, 0, 1, 0, 2, 1],
    "uneven": [0, 0, 0, 0, 1, 2, 2],
    "one label": [7, 7, 7],
    "all different": [3, 1, 2, 0],
    "alone": [0],
    "two": [5, -1],
}


def embeddings(n: int, seed: int = 0, dtype: torch.dtype = torch.float64, spread: float = 1.0) -> torch.Tensor:
    return spread * torch.randn((n, 4, 3), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("case", LABELS)
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize(("margin", "spread"), [(0.2, 1.0), (0.2, 0.02), (2.0, 1.0), (0.0, 5.0)])
def test_equals_the_loops(case: str, exclude_self: bool, margin: float, spread: float) -> None:
    labels = LABELS[case]
    x = embeddings(len(labels), spread=spread)
    loss, statistics = TripletLoss(margin, exclude_self)(x, torch.tensor(labels))
    expected = losses.triplet(x.tolist(), labels, margin, exclude_self)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected.loss, abs=1e-12)
    assert statistics.keys() == {"loss", "hard_loss", "loss_num", "mean_dist"}
    for name, value in statistics.items():
        assert value.item() == pytest.approx(getattr(expected, name), abs=1e-12), name
        assert not value.requires_grad


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_equals_the_loops_for_random_inputs(data: st.DataObject) -> None:
    """With few labels and coordinates on a grid: many distances are equal, and many triplets exactly at the margin."""
    labels = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=7))
    numbers = st.lists(st.integers(-2, 2), min_size=len(labels) * 2, max_size=len(labels) * 2)
    x = torch.tensor(data.draw(numbers), dtype=torch.float64).reshape(len(labels), 1, 2)
    margin, exclude_self = data.draw(st.sampled_from([0.0, 0.25, 1.0])), data.draw(st.booleans())
    loss, statistics = TripletLoss(margin, exclude_self)(x, torch.tensor(labels))
    expected = losses.triplet(x.tolist(), labels, margin, exclude_self)
    assert loss.item() == pytest.approx(expected.loss, abs=1e-12)
    assert statistics["loss_num"].item() == pytest.approx(expected.loss_num)
    assert statistics["hard_loss"].item() == pytest.approx(expected.hard_loss, abs=1e-12)


def test_nan_is_not_hidden() -> None:
    x = embeddings(6)
    x[1] = torch.nan
    assert TripletLoss()(x, torch.tensor(LABELS["even"]))[0].isnan()


@pytest.mark.parametrize("exclude_self", [False, True])
def test_gradient(exclude_self: bool) -> None:
    labels = torch.tensor(LABELS["uneven"])
    x = embeddings(7).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: TripletLoss(0.7, exclude_self)(y, labels)[0], (x,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", ["one label", "all different", "alone"])
def test_the_gradient_is_zero_where_there_is_no_triplet(case: str) -> None:
    labels = torch.tensor(LABELS[case])
    x = embeddings(len(labels)).requires_grad_()
    loss, _ = TripletLoss(exclude_self=True)(x, labels)
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("value", [0.0, 1.0, 123.4])
def test_identical_embeddings_have_a_finite_gradient(dtype: torch.dtype, value: float) -> None:
    x = torch.full((4, 5, 2), value, dtype=dtype, requires_grad=True)
    loss, statistics = TripletLoss()(x, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.2)  # every distance is 0: the margin
    assert statistics["mean_dist"].item() == 0
    assert statistics["loss_num"].item() == 4 * 2 * 2
    assert not x.grad.any()


@pytest.mark.parametrize("spread", [1e-1, 1e-2, 1e-3])
def test_embeddings_close_together(spread: float) -> None:
    """Value and gradient in float32 are those in float64, though distances are far smaller than the embeddings."""
    generator = torch.Generator().manual_seed(0)
    common, individual = (torch.randn(n, 64, 2, generator=generator) for n in (1, 16))
    embeddings, labels = common + spread * individual, torch.arange(4).repeat_interleave(4)
    (value, gradient), (exact, exact_gradient) = (
        (loss.double(), torch.autograd.grad(loss, x)[0].double())
        for x in (embeddings.clone().requires_grad_(), embeddings.double().requires_grad_())
        for loss in [TripletLoss()(x, labels)[0]]
    )
    reference = losses.triplet(embeddings.double().tolist(), labels.tolist(), 0.2).loss
    assert exact.item() == pytest.approx(reference, rel=1e-9)
    assert value.item() == pytest.approx(exact.item(), rel=1e-6)
    assert float((gradient - exact_gradient).norm()) < 1e-6 * float(exact_gradient.norm())


class TestBuilding:
    def test_from_a_mapping(self) -> None:
        loss = build_loss({"type": "TripletLoss", "margin": 0.5, "loss_term_weight": 3, "log_prefix": "mine"})
        assert isinstance(loss, TripletLoss)
        assert loss.margin == 0.5
        assert not loss.exclude_self
        assert (loss.reads, loss.needs_whole_batch) == ("embeddings", True)
        assert build_loss({"type": "TripletLoss"}).margin == 0.2

    def test_no_mapping(self) -> None:
        with pytest.raises(UserError, match="loss_cfg must be a mapping"):
            build_loss("TripletLoss")  # type: ignore[arg-type]
