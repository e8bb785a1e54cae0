"""Classifications: the measures against their definitions, and errors for types or logits that do not fit."""

from typing import Any

import numpy as np
import pytest

import dygait
from dygait.errors import UserError
from dygait.evaluation import Options, declared_protocol, evaluate_detailed, to_csv, to_json, to_text
from dygait.evaluation.classification import scores

DIAGNOSES = ("negative", "neutral", "positive")
IDS = [f"{i // 3}" for i in range(12)]
TYPES = [("negative", "Positive", "neutral")[i % 3] for i in range(12)]


def logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, 3, 4)).astype(np.float32)


def by_definition(true: list[int], predicted: list[int]) -> dict[str, float]:
    classes = sorted({*true, *predicted})
    pairs = list(zip(true, predicted, strict=True))
    precision, recall, f1 = [], [], []
    for k in classes:
        correct = sum(t == f == k for t, f in pairs)
        predictions, positives = predicted.count(k), true.count(k)
        precision.append(correct / predictions if predictions else 0)
        recall.append(correct / positives if positives else 0)
        f1.append(2 * correct / (predictions + positives))
    means = {name: 100 * sum(v) / len(v) for name, v in (("precision", precision), ("recall", recall), ("F1", f1))}
    return {"accuracy": 100 * sum(t == f for t, f in pairs) / len(pairs), **means}


@pytest.mark.parametrize(
    ("true", "predicted"),
    [([0, 1, 2, 2, 1, 0], [0, 2, 2, 2, 1, 1]), ([0, 0, 2], [0, 1, 0]), ([1, 1], [1, 1]), ([0, 2], [2, 0])],
)
def test_measures_by_definition(true: list[int], predicted: list[int]) -> None:
    assert scores(np.array(true), np.array(predicted)) == pytest.approx(by_definition(true, predicted))


def test_the_prediction_is_the_largest_mean_logit() -> None:
    values = logits()
    true = [{"negative": 0, "neutral": 1, "positive": 2}[name.lower()] for name in TYPES]
    predicted = [max(range(3), key=lambda k: sum(row[k].tolist())) for row in values]
    columns = (IDS, TYPES, ["v"] * 12)
    result = evaluate_detailed(values, *columns, "Scoliosis1K", options=Options(intervals=50))
    assert result.percentages == {"all": pytest.approx(by_definition(true, predicted))}
    assert result.chance == {"all": pytest.approx(100 / 3)}
    assert result.counts["all"]["probes"] == 12
    low, high = result.intervals["all"]["accuracy"]
    assert low <= result.headlines["all"] <= high
    assert dygait.evaluate(values, *columns, protocol="Scoliosis1K") == result.percentages
    text = to_text(result)
    assert "accuracy" in text
    assert "Sequences: all 12." in text
    assert "gallery" not in text.lower()
    assert "F1" in to_csv(result)
    assert "logits" in to_json(result)


WEAR: dict[str, Any] = {"name": "wear", "classes": ["nm-*", "bg-*", "cl-*"]}


def test_a_declared_classification_with_groups() -> None:
    groups = {
        "front": {"probes": {"views": "0"}},
        "side": {"probes": {"views": "90"}},
        "back": {"probes": {"views": "180"}},
    }
    types, views = ["nm-01", "bg-01", "cl-01", "nm-02"] * 3, ["0", "90"] * 6
    values = np.zeros((12, 3, 2), np.float32)
    values[:, 0] = 1  # always the first class
    protocol = {**WEAR, "groups": groups, "measures": ["recall"]}
    result = evaluate_detailed(values, IDS, types, views, protocol)
    assert result.percentages == {"front": {"recall": 50.0}, "side": {"recall": 50.0}}
    assert any("back: no sequences" in note for note in result.notes)
    assert result.intervals == {}
    assert declared_protocol(declared_protocol(protocol).model_dump()) == declared_protocol(protocol)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["nm-*"]}, "classes: .*at least 2 items"),
        ({"gallery": {"types": "nm-*"}}, "a classification has no gallery"),
        ({"exclusion": "identical view"}, "a classification has no gallery"),
        ({"measures": ["rank-1"]}, "unknown measure 'rank-1': accuracy, precision, recall, F1"),
        ({"classes": None}, "gallery: this key is required"),
    ],
)
def test_errors_of_a_declaration(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        declared_protocol({**WEAR, **change})


def test_errors_of_the_data() -> None:
    columns = (IDS, TYPES, ["v"] * 12)
    with pytest.raises(UserError, match=r"'(negative|Positive)' is none of the classes of the protocol wear: nm-"):
        evaluate_detailed(logits(), *columns, WEAR)
    with pytest.raises(UserError, match="4 channels, but the protocol Scoliosis1K has 3 classes"):
        evaluate_detailed(logits().transpose(0, 2, 1), *columns, "Scoliosis1K")
    nobody = {"name": "x", "classes": [*DIAGNOSES], "groups": {"g": {"probes": {"ids": "x"}}}}
    with pytest.raises(UserError, match="no group has a sequence"):
        evaluate_detailed(logits(), *columns, nobody)
