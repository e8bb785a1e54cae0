"""Runs for reports: random features of a few people, with names that a page has to escape."""

import functools
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dygait.evaluation import Options, Protocol, ReRank, evaluate_detailed
from dygait.evaluation.analysis import Analysis, analyse
from dygait.evaluation.features import SavedFeatures
from dygait.reporting.reported_run import ReportedRun, describe

VIEWS = ("000", "018", "090")
EVIL = '<script>alert("1")</script>'
IDS = ("001", "002", EVIL, "a&b_%$#{}~^\\", "\u202edne")


def analysed(
    features: np.ndarray,
    *names: list[str],
    protocol: str | Protocol = "CASIA-B",
    lengths: np.ndarray | None = None,
    gei: np.ndarray | None = None,
    re_rank: ReRank | None = None,
) -> Analysis:
    """Evaluate features (and images) of these ids, types and views, and analyse the result."""
    saved = SavedFeatures(features, *names, [30] * len(features) if lengths is None else lengths.tolist())
    options = Options(intervals=1000, verification=True, open_set=True, re_rank=re_rank, keep=True)
    result = evaluate_detailed(features, *names, protocol, options=options)
    baseline = None if gei is None else evaluate_detailed(gei, *names, protocol)
    return analyse(saved, result, baseline)


@functools.cache
def make_run(seed: int = 0, protocol: str = "CASIA-B", noise: float = 1.0) -> ReportedRun:
    rng = np.random.default_rng(seed)
    kinds = ("nm-01", "nm-02", "nm-05", "bg-01", "bg-02", "cl-01", "cl-02")
    ids, types, views = (list(column) for column in zip(*product(IDS, kinds, VIEWS), strict=True))
    people = {i: rng.normal(size=(6, 2)) for i in IDS}
    features = np.stack([people[i] + noise * rng.normal(size=(6, 2)) for i in ids]).astype(np.float32)
    origin: dict[str, Any] = {
        "checkpoint": "/runs/<b>mine</b>/checkpoints/mine-00060.pt",
        "iteration": 60,
        "dataset": "Invented & Co",
        "fingerprint": "abc",
        "protocol": protocol,
        "metric": "euc",
        "config": {"data_cfg": {"dataset_root": "/nowhere/<i>"}, "evaluator_cfg": {"save_name": EVIL}},
    }
    lengths = rng.integers(3, 60, len(ids))
    gei = rng.random((len(ids), 12, 1)).astype(np.float32)
    analysis = analysed(features, ids, types, views, protocol=protocol, lengths=lengths, gei=gei)
    return describe(
        Path("/runs/features"), SavedFeatures(features, ids, types, views, lengths.tolist(), origin, gei), analysis
    )


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours, #rgb or #rrggbb, in 1 to 21 (WCAG 2)."""

    def luminance(colour: str) -> float:
        full = "".join(2 * c for c in colour[1:]) if len(colour) == 4 else colour[1:]
        parts = [int(full[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    a, b = luminance(first), luminance(second)
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
