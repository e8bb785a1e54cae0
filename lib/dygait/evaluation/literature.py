"""Published results, and the selection of those that are comparable with the result of a test."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from dygait.config.load import read_yaml
from dygait.evaluation.builtin_protocols import PROTOCOLS
from dygait.evaluation.evaluate import EvaluationResult
from dygait.untrusted import at

MEAN = "mean"
"""The name of the mean over a protocol's groups."""


@dataclass(frozen=True)
class PublishedResult:
    """Rank-1 of a model on datasets; `literature.yaml` says what the fields mean."""

    model: str
    year: int
    source: str
    input: Sequence[int] = ()
    sees: str = "silhouettes"
    trained_on: str | None = None  # None: the dataset that it is tested on
    percentages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # dataset -> group -> percent

    @property
    def name(self) -> str:
        """The model, its year, and its input if it is not silhouettes."""
        return f"{self.model} ({self.year}{'' if self.sees == 'silhouettes' else f', {self.sees}'})"


@functools.cache
def literature() -> dict[str, Any]:
    """Return `sources` and `datasets` of the file, and `results` as a list of `PublishedResult`."""
    content = read_yaml(Path(__file__).with_name("literature.yaml"))
    results = []
    for entry in content["results"]:
        percentages = {key: value for key, value in entry.items() if key in content["datasets"]}
        fields = {key: value for key, value in entry.items() if key not in percentages}
        results.append(PublishedResult(**fields, percentages=percentages))
    return {**content, "results": results}


def comparable(result: EvaluationResult, origin: Mapping[str, Any], ids: Sequence[str]) -> list[PublishedResult]:
    """Return the published results that are comparable with the result of a test.

    They have the same training data, test data, size of the input, protocol (with its exclusions), and number of test
    subjects.

    Args:
        result: of the test.
        origin: where the features come from (`SavedFeatures.origin`).
        ids: subjects of the tested sequences.
    """
    names = [at(origin, "config", "data_cfg", key) for key in ("dataset_name", "test_dataset_name")]
    trained_on, dataset = names[0], names[1] or names[0]
    entry = literature()["datasets"].get(dataset)
    if entry is None or entry["subjects"] != len(set(ids)) or entry["protocol"] not in PROTOCOLS:
        return []
    protocol = PROTOCOLS.get(entry["protocol"])
    if (result.protocol, result.description) != (protocol.name, protocol.description):
        return []
    size = list(origin.get("frame_size", []))[-2:]
    return [
        r for r in literature()["results"]
        if dataset in r.percentages and (r.trained_on or dataset) == trained_on and size and list(r.input) == size
    ]  # fmt: skip


def with_published(
    result: EvaluationResult, origin: Mapping[str, Any], ids: Sequence[str], name: str
) -> tuple[list[str], list[tuple[str, str, list[float]]]]:
    """Return a table of a result, called `name`, and of the published results that are `comparable` with it.

    Returns:
        The groups, and rows of name, source and a percentage for each group (NaN if it is missing); no rows if no
        published result is comparable.
    """
    published = comparable(result, origin, ids)
    data = at(origin, "config", "data_cfg") or {}
    percentages = [entry.percentages[data.get("test_dataset_name") or data["dataset_name"]] for entry in published]
    tested = {**result.headlines, MEAN: fmean(result.headlines.values())}
    groups = [group for group in tested if any(group in values for values in percentages)]
    rows = [
        (entry.name, entry.source, [values.get(group, math.nan) for group in groups])
        for entry, values in zip(published, percentages, strict=True)
        if not values.keys().isdisjoint(groups)
    ]
    return groups, [(name, "this test", [tested[group] for group in groups]), *rows] if rows else []
