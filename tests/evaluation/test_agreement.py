"""Ranks, pairs, searches and figures are derived from the same comparisons, under every kind of protocol."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from dygait.evaluation import EvaluationResult, Protocol, ReRank
from dygait.evaluation.analysis import RANKS, Analysis
from helpers.report_runs import analysed
from reference import metrics
from reference.analysis import Comparisons, distances

VIEWS = ("000-a", "000-b", "018", "090")
TYPES = ("nm-01", "nm-02", "nm-05", "cl-01")
PROBES = {"NM": ("nm-05",), "CL": ("cl-01", "nm-05")}
GALLERY = ("nm-01", "nm-02")
EXCLUSIONS = ("nothing", "identical view", "same id in the same view")
RE_RANK = ReRank(4, 3, 0.3)


def rows(seed: int) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """Some sequences missing; probes of a view that the gallery lacks, and one whose only match is in its own view."""
    rng = np.random.default_rng(seed)
    keys = [(f"{i:03d}", t, v) for i in range(6) for t in TYPES for v in VIEWS if rng.random() > 0.15]
    keys = [key for key in keys if key[0] != "005" or key[1] not in GALLERY or key[2] == "018"]
    keys += [("001", "nm-05", "180"), ("009", "cl-01", "018")]
    people = rng.normal(size=(10, 4, 2))
    features = np.stack([people[int(i)] + 1.2 * rng.normal(size=(4, 2)) for i, _, _ in keys]).astype(np.float32)
    return features, *(list(column) for column in zip(*keys, strict=True))


def compared_distances(features: np.ndarray, types: list[str], re_rank: bool) -> np.ndarray:
    """(N, N) distances; re-ranked ones from the probes of all groups to the gallery, NaN elsewhere."""
    plain = distances(features)
    if not re_rank:
        return plain
    probes = [n for n, kind in enumerate(types) if kind in {t for of in PROBES.values() for t in of}]
    gallery = [n for n, kind in enumerate(types) if kind in GALLERY]
    order = [*probes, *gallery]
    found = np.full_like(plain, np.nan)
    found[np.ix_(probes, gallery)] = metrics.reranked(
        plain[np.ix_(order, order)].tolist(), len(probes), RE_RANK.k1, RE_RANK.k2, RE_RANK.weight
    )
    return found.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("unmatched", ["left out", "counted as wrong"])
@pytest.mark.parametrize(("exclusion", "one_view", "re_rank"), [*product(EXCLUSIONS, (False, True), (False, True))])
def test_everything_counts_the_same_pairs(exclusion: str, one_view: bool, re_rank: bool, unmatched: str) -> None:
    declared = {
        "name": "all",
        "gallery": {"types": [*GALLERY]},
        "groups": {name: {"probes": {"types": [*kinds]}, "unmatched": unmatched} for name, kinds in PROBES.items()},
        "one_view_at_a_time": one_view,
        "exclusion": exclusion,
        "measures": ["rank-1", "rank-3", "mAP"],
        "view_until": "-",
    }
    protocol = Protocol.model_validate(declared)
    for seed in range(2):
        features, ids, types, views = rows(seed)
        found = analysed(features, ids, types, views, protocol=protocol, re_rank=RE_RANK if re_rank else None)
        assert found.result.description.endswith("(k1 4, k2 3, lambda 0.3)") == re_rank
        matrix = compared_distances(features, types, re_rank)
        cameras = [view.partition("-")[0] for view in views]
        for group, probe_types in PROBES.items():
            expected = Comparisons(matrix, ids, types, cameras, probe_types, GALLERY, one_view, exclusion, unmatched)
            check_ranks(found.result, group, expected)
            check_pairs(found, group, expected)
            check_searches(found.result, group, expected)
            check_pictures(found, group, expected)


def check_ranks(result: EvaluationResult, group: str, expected: Comparisons) -> None:
    for name in result.measures:
        assert result.percentages[group][name] == pytest.approx(expected.mean(metrics.MEASURES[name])), name
    assert result.counts[group]["probes"] == len(expected.probes)
    alone = [p for p in expected.probes if not any(any(m) for key, m in expected.matches.items() if key[0] == p)]
    assert result.counts[group]["probes without a match"] == len(alone)


def check_pairs(found: Analysis, group: str, expected: Comparisons) -> None:
    genuine, impostor = expected.genuine, expected.impostor
    pairs = found.groups[group].pairs
    assert pairs is not None
    for rates in (found.result.verification[group], pairs.verification):
        assert (rates.genuine, rates.impostor) == (len(genuine), len(impostor))
        assert rates.auc == pytest.approx(metrics.auc(genuine, impostor), abs=1e-9)
        assert rates.eer == pytest.approx(metrics.eer(genuine, impostor), abs=1e-9)
        for far, tar in rates.tar_at_far.items():
            assert tar == pytest.approx(metrics.tar_at_far(genuine, impostor, far), nan_ok=True)
    for shares, of in ((pairs.genuine, genuine), (pairs.impostor, impostor)):
        wanted = np.histogram(of, pairs.edges)[0] / len(of)
        np.testing.assert_allclose(shares, wanted, atol=1.01 / len(of))  # one at an edge may fall to either side


def check_searches(result: EvaluationResult, group: str, expected: Comparisons) -> None:
    match, other, correct = [], [], []
    for (probe, _), ranked in expected.ranked.items():
        same = [expected.ids[n] == expected.ids[probe] for _, n in ranked]
        match.append(min((d for (d, _), hit in zip(ranked, same, strict=True) if hit), default=math.inf))
        other.append(min((d for (d, _), hit in zip(ranked, same, strict=True) if not hit), default=math.inf))
        correct.append(same[0])
    searches = result.open_set[group]
    assert (searches.mated, searches.non_mated) == (sum(m < math.inf for m in match), len(other))
    for fpir, rate in searches.dir_at_fpir.items():
        assert rate == pytest.approx(metrics.dir_at_fpir(match, other, correct, fpir), nan_ok=True)


def check_pictures(found: Analysis, group: str, expected: Comparisons) -> None:
    shown = found.groups[group]
    assert shown.cmc[0] == pytest.approx(found.result.percentages[group]["rank-1"])
    for k in range(1, RANKS + 1):
        assert shown.cmc[k - 1] == pytest.approx(expected.cmc(k)), k
    hardest: list[tuple[float, int, str]] = []
    for entry in expected.margins():
        if all(expected.ids[entry[1]] != expected.ids[probe] for _, probe, _ in hardest):
            hardest.append(entry)
    assert len(shown.confusions) == min(4, len(hardest))
    for one, (margin, probe, view) in zip(shown.confusions, hardest, strict=False):
        ranked = expected.ranked[probe, view]
        assert (one.probe, one.rank) == (probe, expected.rank(probe, view))
        assert list(one.nearest) == [n for _, n in ranked[:5]]
        assert list(one.right) == [expected.ids[n] == expected.ids[probe] for n in one.nearest]
        assert expected.ids[one.match] == expected.ids[probe]
        np.testing.assert_allclose(one.distances, [d for d, _ in ranked[:5]], rtol=1e-5, atol=1e-6)
        assert one.match_distance - one.distances[0] == pytest.approx(margin, rel=1e-3, abs=1e-6)
    for share in shown.by_type:
        probes = [p for p in expected.probes if expected.types[p] == share.name]
        errors = [e for p in probes if (e := expected.error(p)) is not None]
        assert (share.probes, share.error) == (len(errors), pytest.approx(np.mean(errors)))
