"""Results that others have published, and which of them may stand beside a test's own: the same in all that matters."""

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
"""The group that stands for the mean of a protocol's groups."""


@dataclass(frozen=True)
class PublishedResult:
    """Rank-1 of a model on datasets; `literature.yaml` says what the fields mean."""

    model: str
    year: int
    source: str
    input: Sequence[int] = ()
    sees: str = "silhouettes"
    trained_on: str | None = None  # None: each on its own
    percentages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # dataset -> group -> percent

    @property
    def name(self) -> str:
        """The model, its year, and what it sees."""
        return f"{self.model} ({self.year}{'' if self.sees == 'silhouettes' else f', {self.sees}'})"


@functools.cache
def literature() -> dict[str, Any]:
    """Return `sources` and `datasets` as the file has them, and `results`, each a `PublishedResult`."""
    content = read_yaml(Path(__file__).with_name("literature.yaml"))
    results = []
    for entry in content["results"]:
        percentages = {key: value for key, value in entry.items() if key in content["datasets"]}
        rest = {key: value for key, value in entry.items() if key not in percentages}
        results.append(PublishedResult(**rest, percentages=percentages))
    return {**content, "results": results}


def comparable(result: EvaluationResult, origin: Mapping[str, Any], ids: Sequence[str]) -> list[PublishedResult]:
    """Return the published results that may stand beside one's own.

    Training data, test data and input are the same, and so are the protocol, with everything that it leaves out, and
    the number of test subjects.

    Args:
        result: one's own.
        origin: where the features come from (`SavedFeatures.origin`).
        ids: of the sequences that were tested.
    """
    names = [at(origin, "config", "data_cfg", key) for key in ("dataset_name", "test_dataset_name")]
    trained_on, dataset = names[0], names[1] or names[0]
    wanted = literature()["datasets"].get(dataset)
    if wanted is None or wanted["subjects"] != len(set(ids)) or wanted["protocol"] not in PROTOCOLS:
        return []
    protocol = PROTOCOLS.get(wanted["protocol"])
    if (result.protocol, result.description) != (protocol.name, protocol.description):
        return []
    size = list(origin.get("frame_size", []))[-2:]
    return [
        one for one in literature()["results"]
        if dataset in one.percentages and (one.trained_on or dataset) == trained_on and size and list(one.input) == size
    ]  # fmt: skip


def with_published(
    result: EvaluationResult, origin: Mapping[str, Any], ids: Sequence[str], name: str
) -> tuple[list[str], list[tuple[str, str, list[float]]]]:
    """Return the table of a result, called `name`, and of the published ones that are `comparable`.

    Returns:
        The groups, and for each row its name, its source, and its percentages, NaN where there is none; no rows where
        nothing is comparable.
    """
    found = comparable(result, origin, ids)
    data = at(origin, "config", "data_cfg") or {}
    published = [one.percentages[data.get("test_dataset_name") or data["dataset_name"]] for one in found]
    own = {**result.headlines, MEAN: fmean(result.headlines.values())}
    groups = [group for group in own if any(group in values for values in published)]
    rows = [
        (of.name, of.source, [values.get(group, math.nan) for group in groups])
        for of, values in zip(found, published, strict=True)
        if not values.keys().isdisjoint(groups)
    ]
    return groups, [(name, "this test", [own[group] for group in groups]), *rows] if rows else []
