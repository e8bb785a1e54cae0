"""The analysis of an evaluation: equal to loops over probes, and deterministic."""

import numpy as np
import pytest

from dygait.evaluation import analysis as module
from dygait.evaluation.analysis import Analysis, embedding_map, principal_components, tar_at
from dygait.evaluation.sequences import Sequences
from helpers.report_runs import analysed
from reference.analysis import Comparisons, distances

VIEWS = ("000", "018", "090")
TYPES = ("nm-01", "nm-02", "nm-05", "nm-06", "bg-01", "cl-01")
ROWS = [(f"{i:03d}", t, v) for i in range(5) for t in TYPES for v in VIEWS if (i, t) != (4, "nm-01") or v != "018"]
IDS, KINDS, ANGLES = (list(column) for column in zip(*ROWS, strict=True))
GALLERY = ("nm-01", "nm-02", "nm-03", "nm-04")
PROBES = {"NM": ("nm-05", "nm-06"), "BG": ("bg-01",), "CL": ("cl-01",)}
LENGTHS = np.random.default_rng(5).integers(3, 60, len(ROWS))


def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    people = rng.normal(size=(5, 6, 2))
    return np.stack([people[int(i)] + 1.1 * rng.normal(size=(6, 2)) for i in IDS]).astype(np.float32)


def analysis() -> Analysis:
    return analysed(features(), IDS, KINDS, ANGLES, lengths=LENGTHS)


def reference(group: str) -> Comparisons:
    probes, gallery = ([n for n, kind in enumerate(KINDS) if kind in types] for types in (PROBES[group], GALLERY))
    return Comparisons(distances(features()), IDS, ANGLES, probes, gallery, True, "identical view")


@pytest.mark.parametrize("group", PROBES)
def test_errors_by_length_and_by_type(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LENGTH_CLASSES", 3)
    expected, actual = reference(group), analysis().groups[group]
    errors = {p: e for p in expected.probes if (e := expected.error(p)) is not None}
    assert sum(s.probes for s in actual.by_length) == len(errors)
    for before, after in zip(actual.by_length, actual.by_length[1:], strict=False):
        assert before.high < after.low
    for share in actual.by_length:
        inside = [e for p, e in errors.items() if share.low <= LENGTHS[p] <= share.high]
        assert share.probes == len(inside)
        assert share.error == pytest.approx(np.mean(inside))
        assert share.spread == pytest.approx(np.std(inside, ddof=1) / np.sqrt(len(inside)) if len(inside) > 1 else 0)
    assert [s.name for s in actual.by_type] == list(PROBES[group])
    for share in actual.by_type:
        assert share.median == np.median([LENGTHS[p] for p in errors if KINDS[p] == share.name])


def test_the_roc_curve_and_its_threshold() -> None:
    actual = analysis().groups["CL"].pairs
    expected = reference("CL")
    genuine, impostor = np.float32(expected.genuine), np.float32(expected.impostor)
    grid = np.array([1e-3, 0.05, 0.3, 1.0])
    for far, tar in zip(grid, tar_at(actual, grid), strict=True):
        best = max((genuine <= t).mean() for t in [-1.0, *genuine, *impostor] if (impostor <= t).mean() <= far)
        assert tar == pytest.approx(best, abs=2 / len(genuine))
    far, frr = (impostor <= actual.threshold).mean(), (genuine > actual.threshold).mean()
    assert abs(far - frr) < 0.1


def test_the_embedding_map_is_deterministic_and_keeps_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAP_SUBJECTS", 2)
    monkeypatch.setattr(module, "_MAP_POINTS", 10)
    rng = np.random.default_rng(0)
    means = 10 * rng.normal(size=(3, 4, 2))
    ids = np.repeat(["a", "b", "c"], 12)
    features = np.stack([means["abc".index(i)] + rng.normal(size=(4, 2)) for i in ids])
    sequences = Sequences.checked(features, ids.tolist(), ["t"] * 36, ["v"] * 36)
    maps = [embedding_map(sequences, np.arange(36), "euc") for _ in range(2)]
    np.testing.assert_array_equal(maps[0].points, maps[1].points)
    assert maps[0].method == "t-SNE"
    mapped_ids = ids[maps[0].sequences]
    assert {name: (mapped_ids == name).sum() for name in set(mapped_ids)} == dict.fromkeys(sorted(set(mapped_ids)), 10)
    assert len(set(mapped_ids)) == 2
    distance = np.linalg.norm(maps[0].points[:, None] - maps[0].points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (mapped_ids[distance.argmin(1)] == mapped_ids).all()


def test_few_sequences_are_mapped_by_principal_components() -> None:
    features = np.random.default_rng(0).normal(size=(6, 5, 1))
    sequences = Sequences.checked(features, list("aabbcc"), ["t"] * 6, ["v"] * 6)
    actual = embedding_map(sequences, np.arange(6), "euc")
    assert actual.method == "PCA"
    centred = features.reshape(6, 5) - features.reshape(6, 5).mean(0)
    u, s, _ = np.linalg.svd(centred)
    np.testing.assert_allclose(np.abs(actual.points), np.abs(u[:, :2] * s[:2]), atol=1e-5)
    assert principal_components(features[:1].reshape(1, 5), 3).tolist() == [[0, 0, 0]]
