"""Cosines of predictions with the targets of all sequences, against plain loops, and which term reads which view."""

import math
from typing import Any

import pytest
import torch

from dygait.losses import LossAggregator, views
from dygait.modeling import GaitOutput


def example(count: int = 3, parts: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = torch.randn(2, count, 2, 4, parts, generator=generator, dtype=torch.float64)
    return tensors[0].requires_grad_(), tensors[1].requires_grad_()


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))


def plain_loss(predictions: torch.Tensor, targets: torch.Tensor, view: int) -> float:
    """Cross entropy of a view with scale 16 and smoothing 0.1, over all sequences, for every prediction and part."""
    count, parts, terms = len(predictions), predictions.shape[3], []
    for n in range(count):
        for p in range(parts):
            prediction = predictions[n, view, :, p].tolist()
            logits = [16 * cosine(prediction, targets[m, view, :, p].tolist()) for m in range(len(targets))]
            log_sum = math.log(sum(map(math.exp, logits)))
            terms += [log_sum - 0.9 * logits[n] - 0.1 * sum(logits) / len(logits)]
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
    total, statistics = entropies(2)(output(predictions, targets), labels)
    assert [statistics["s0/loss"].item(), statistics["s1/loss"].item()] == pytest.approx(expected)
    assert total.item() == pytest.approx(sum(expected))
    total.backward()
    assert targets.grad is None
    assert predictions.grad is not None
    total, _ = entropies(1)(output(predictions, targets), labels)
    assert total.item() == pytest.approx(sum(expected) / 2)


def test_the_label_of_a_prediction_is_its_sequence() -> None:
    predictions, _ = example(5)
    _, statistics = entropies(2)(output(predictions, predictions.detach().flip(1)[:, [1, 0]]), torch.zeros(10))
    assert statistics["s0/accuracy"] == statistics["s1/accuracy"] == 1


def test_sequences_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the second of two processes: the targets of the first come before its own."""
    predictions, targets = example()
    first_targets = example(seed=1)[1].detach()

    def gather(rows: torch.Tensor) -> torch.Tensor:
        assert not rows.requires_grad
        return torch.cat([torch.nn.functional.normalize(first_targets, dim=2), rows])

    monkeypatch.setattr(views.distributed, "gather", gather)
    monkeypatch.setattr(views.distributed, "rank", lambda: 1)
    logits, labels = views.contrast(predictions, targets)
    assert labels.tolist() == [3, 4, 5]
    all_targets: Any = torch.cat([first_targets, targets.detach()])
    for n in range(3):
        for m in range(6):
            for view in range(2):
                for part in range(2):
                    prediction, target = predictions[n, view, :, part].tolist(), all_targets[m, view, :, part].tolist()
                    assert logits[n, m, 2 * view + part].item() == pytest.approx(cosine(prediction, target))
