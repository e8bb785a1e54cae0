"""The weighted sum of losses and its statistics; tests/training/test_step.py covers two processes."""

import pytest
import torch

from dygait.errors import UserError
from dygait.losses import LOSSES, LossAggregator, build_loss
from dygait.modeling import GaitOutput

TRIPLET = {"type": "TripletLoss", "margin": 0.2, "loss_term_weight": 1.0}
ENTROPY = {"type": "CrossEntropyLoss", "scale": 16, "loss_term_weight": 0.1, "log_accuracy": True}
LABELS = [0, 0, 1, 1, 2, 2, 0, 1]


def output(logits: bool = True) -> GaitOutput:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn((8, 4, 3), generator=generator).requires_grad_()
    return GaitOutput(embeddings, torch.randn((8, 3, 3), generator=generator) if logits else None, embeddings)


def test_the_weighted_sum() -> None:
    outputs, labels = output(), torch.tensor(LABELS)
    total, statistics = LossAggregator([TRIPLET, ENTROPY])(outputs, labels)
    triplet, triplet_statistics = build_loss(TRIPLET)(outputs.embeddings, labels)
    entropy, _ = build_loss(ENTROPY)(outputs.logits, labels)
    assert total.item() == pytest.approx((triplet + 0.1 * entropy).item(), rel=1e-6)
    assert statistics.keys() == {
        *("triplet/loss", "triplet/hard_loss", "triplet/loss_num", "triplet/mean_dist"),
        *("softmax/loss", "softmax/accuracy"),
    }
    assert statistics["softmax/loss"].item() == pytest.approx(entropy.item()), "statistics are not weighted"
    assert all(statistics[f"triplet/{k}"].item() == v.item() for k, v in triplet_statistics.items())


def test_prefixes() -> None:
    terms = [{**TRIPLET, "log_prefix": "near"}, ENTROPY]
    assert LossAggregator(terms).prefixes == ["near", "softmax"]
    twice = LossAggregator([TRIPLET, {**TRIPLET, "log_prefix": None}, ENTROPY])
    assert twice.prefixes == ["triplet0", "triplet1", "softmax"]
    with pytest.raises(UserError, match="log_prefix"):
        LossAggregator([{**TRIPLET, "log_prefix": "triplet1"}, TRIPLET, TRIPLET])
    _, statistics = LossAggregator([TRIPLET, {**TRIPLET, "margin": 5.0}])(output(), torch.tensor(LABELS))
    assert statistics["triplet1/loss"] > statistics["triplet0/loss"], "both are reported"


@pytest.mark.parametrize("name", LOSSES.names())
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    """For every loss, under autocast; statistics have no gradient."""
    x = torch.rand((4, 3, 3), generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    labels = (x > 0.5).float() if LOSSES.get(name).compares_with == "masks" else torch.tensor([0, 0, 1, 1])
    with torch.autocast("cpu", torch.bfloat16):
        loss, statistics = build_loss({"type": name})(x, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, build_loss({"type": name})(x.float(), labels)[0])
    assert torch.equal(loss, statistics["loss"])
    assert not any(value.requires_grad for value in statistics.values())


def test_a_loss_that_reads_missing_logits() -> None:
    with pytest.raises(UserError, match=r"CrossEntropyLoss reads logits"):
        LossAggregator([TRIPLET, ENTROPY])(output(logits=False), torch.tensor(LABELS))
    LossAggregator([TRIPLET])(output(logits=False), torch.tensor(LABELS))
