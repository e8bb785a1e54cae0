"""Cosines of predictions with the targets of all sequences, against plain loops; which term reads which views."""

import math
from typing import Any

import pytest
import torch

from dygait.losses import LossAggregator, views
from dygait.modeling import GaitOutput


def example(count: int = 3, parts: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(2, count, 2, 4, parts, generator=generator, dtype=torch.float64)
    return made[0].requires_grad_(), made[1].requires_grad_()


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))


def plain_loss(predictions: torch.Tensor, targets: torch.Tensor, view: int) -> float:
    """Cross entropy of a view, scale 16, smoothing 0.1: each prediction of each part among all sequences."""
    count, parts, terms = len(predictions), predictions.shape[3], []
    for n in range(count):
        for p in range(parts):
            own = predictions[n, view, :, p].tolist()
            logits = [16 * cosine(own, targets[m, view, :, p].tolist()) for m in range(len(targets))]
            total = math.log(sum(map(math.exp, logits)))
            terms += [total - 0.9 * logits[n] - 0.1 * sum(logits) / len(logits)]
    return sum(terms) / len(terms)


def entropies(count: int) -> LossAggregator:
    return LossAggregator([{"type": "CrossEntropyLoss", "log_accuracy": True, "log_prefix": f"s{i}"}
                           for i in range(count)])  # fmt: skip


def output(predictions: torch.Tensor, targets: torch.Tensor) -> GaitOutput:
    embeddings = torch.zeros(2 * len(predictions), 4, 2)
    return GaitOutput(embeddings, None, embeddings, predictions=predictions, targets=targets)


def test_two_terms_share_the_views_and_one_reads_both() -> None:
    predictions, targets = example()
    expected = [plain_loss(predictions.detach(), targets.detach(), view) for view in range(2)]
    labels = torch.zeros(6, dtype=torch.long)
    total, found = entropies(2)(output(predictions, targets), labels)
    assert [found["s0/loss"].item(), found["s1/loss"].item()] == pytest.approx(expected)
    assert total.item() == pytest.approx(sum(expected))
    total.backward()
    assert targets.grad is None
    assert predictions.grad is not None
    total, _ = entropies(1)(output(predictions, targets), labels)
    assert total.item() == pytest.approx(sum(expected) / 2)


def test_the_right_sequence_is_ones_own() -> None:
    predictions, _ = example(5)
    _, found = entropies(2)(output(predictions, predictions.detach().flip(1)[:, [1, 0]]), torch.zeros(10))
    assert found["s0/accuracy"] == found["s1/accuracy"] == 1


def test_sequences_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two processes: the first's targets come before its own."""
    predictions, targets = example()
    others = example(seed=1)[1].detach()

    def gather(rows: torch.Tensor) -> torch.Tensor:
        assert not rows.requires_grad
        return torch.cat([torch.nn.functional.normalize(others, dim=2), rows])

    monkeypatch.setattr(views.distributed, "gather", gather)
    monkeypatch.setattr(views.distributed, "rank", lambda: 1)
    logits, labels = views.contrast(predictions, targets)
    assert labels.tolist() == [3, 4, 5]
    everyone: Any = torch.cat([others, targets.detach()])
    for n in range(3):
        for m in range(6):
            for view in range(2):
                for part in range(2):
                    own, their = predictions[n, view, :, part].tolist(), everyone[m, view, :, part].tolist()
                    assert logits[n, m, 2 * view + part].item() == pytest.approx(cosine(own, their))
