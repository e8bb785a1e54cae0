"""The gallery search against plain loops, for features of any scale and offset."""

import itertools
import re

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.identification import search as module
from dygait.identification.approximate import ApproximateSearch
from dygait.identification.search import NEAREST, ExactSearch, distances_of_tracks


def reference_distance(track: np.ndarray, person: np.ndarray, metric: str) -> float:
    """Return the distance of a track to a person, window by window and part by part, in float64."""
    rows = []
    for window in track.astype(float):
        distances = []
        for gallery_window in person.astype(float):
            part_distances = []
            for part in range(window.shape[1]):
                x, y = window[:, part], gallery_window[:, part]
                if metric == "euc":
                    part_distances.append(float(np.sqrt(((x - y) ** 2).sum())))
                else:
                    part_distances.append(1 - float(x @ y) / float(np.sqrt((x @ x) * (y @ y))))
            distances.append(sum(part_distances) / len(part_distances))
        distances.sort()
        rows.append(sum(distances[:NEAREST]) / len(distances[:NEAREST]))
    nearest_half = sorted(rows)[: (len(rows) + 1) // 2]
    return sum(nearest_half) / len(nearest_half)


def make_people(counts: list[int], scale: float = 1.0, offset: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        (offset + scale * (rng.normal(size=(1, 5, 3)) + 0.5 * rng.normal(size=(n, 5, 3)))).astype(np.float32)
        for n in counts
    ]


def make_search(gallery: list[np.ndarray], metric: str = "euc") -> ExactSearch:
    return ExactSearch([f"p{n:03d}" for n in range(len(gallery))], [*map(len, gallery)], iter(gallery), metric)


@pytest.mark.parametrize("metric", ["euc", "cos"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 0.0), (0.05, 40.0), (1e4, 0.0)])
@pytest.mark.parametrize("windows", [1, 4, 7])
def test_exact_search_equals_a_plain_loop(
    metric: str, scale: float, offset: float, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 16)
    monkeypatch.setattr(module, "_FIRST", 2)
    gallery = make_people([1, 2, 3, 4, 9, 30, 2, 5, 1, 1, 8, 6, 3, 3], scale, offset)
    search = make_search(gallery, metric)
    for seed in range(4):
        (track,) = make_people([windows], scale, offset, 100 + seed)
        expected = sorted((reference_distance(track, person, metric), f"p{n:03d}") for n, person in enumerate(gallery))
        for count in (1, 3, 99):
            nearest = search.nearest(track, count)
            assert [candidate.name for candidate in nearest] == [name for _, name in expected[:count]]
            distances = [candidate.distance for candidate in nearest]
            assert np.allclose(distances, [distance for distance, _ in expected[:count]], rtol=1e-5)


@pytest.mark.parametrize("metric", ["euc", "cos"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.01, 100.0), (1e6, 0.0)])
def test_bounds_are_below_the_distances(metric: str, scale: float, offset: float) -> None:
    gallery = make_people([40], scale, offset)
    search = make_search(gallery, metric)
    track = gallery[0][:10]  # the smallest distances are 0
    bounds = search._lower_bounds(search.features(0)[:10])
    for (g, window), (t, track_window) in itertools.product(enumerate(gallery[0]), enumerate(track)):
        exact = reference_distance(track_window[None], window[None], metric)
        assert bounds[t, g] * module._SLACK <= exact + 1e-12 * scale, (g, t)


def test_equal_distances_are_ordered_by_name() -> None:
    person = make_people([3])[0]
    nearest = make_search([person, person, person]).nearest(person, 2)
    assert [candidate.name for candidate in nearest] == ["p000", "p001"]
    assert nearest[0].distance == nearest[1].distance


def test_one_outlier_window_does_not_decide() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.float32(rng.normal(size=(1, 5, 3))) for _ in range(2))
    walk = np.repeat(a, 6, 0)
    with_outlier = np.concatenate([walk[:5], b])  # a window of somebody else
    search = make_search([with_outlier, np.repeat(b, 6, 0)])
    assert search.nearest(walk, 1)[0] == ("p000", 0.0)
    assert search.nearest(with_outlier, 1)[0] == ("p000", 0.0)


def test_distances_of_several_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRACKS", 2)
    gallery, tracks = make_people([2, 5, 1]), make_people([1, 3, 4, 2, 7], seed=9)
    actual = distances_of_tracks(tracks, gallery, "euc")
    expected = [[reference_distance(track, person, "euc") for person in gallery] for track in tracks]
    assert np.allclose(actual, expected, rtol=1e-5)


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=re.escape("(C, P) = (2, 2), those of the gallery are (5, 3)")):
        make_search(make_people([2])).nearest(np.zeros((1, 2, 2), np.float32), 1)


def test_faiss_finds_the_nearest_person() -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'dygait[faiss]'")
    gallery = make_people([6] * 300)
    exact = make_search(gallery)
    approximate = ApproximateSearch(exact)
    rng = np.random.default_rng(5)
    for person in range(0, 300, 15):
        track = (gallery[person][:4] + 0.1 * rng.normal(size=(4, 5, 3))).astype(np.float32)
        (nearest,) = approximate.nearest(track, 1)
        assert nearest == exact.nearest(track, 1)[0]


def test_faiss_gives_the_second_person() -> None:
    """All of the nearest windows of the track are of the first person, who has many."""
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'dygait[faiss]'")
    gallery = make_people([100, 2])
    nearest = ApproximateSearch(make_search(gallery)).nearest(gallery[0][:1], 2)
    assert nearest == make_search(gallery).nearest(gallery[0][:1], 2)
    assert len(nearest) == 2
