"""The search finds what a plain loop finds, whatever the numbers."""

import itertools
import re

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.identification import search as module
from dygait.identification.approximate import ApproximateSearch
from dygait.identification.search import NEAREST, ExactSearch, distances_of_tracks


def plain_distance(track: np.ndarray, person: np.ndarray, metric: str) -> float:
    """The distance of a track to a person, window by window and part by part, in float64."""
    rows = []
    for window in track.astype(float):
        distances = []
        for other in person.astype(float):
            parts = []
            for part in range(window.shape[1]):
                x, y = window[:, part], other[:, part]
                if metric == "euc":
                    parts.append(float(np.sqrt(((x - y) ** 2).sum())))
                else:
                    parts.append(1 - float(x @ y) / float(np.sqrt((x @ x) * (y @ y))))
            distances.append(sum(parts) / len(parts))
        distances.sort()
        rows.append(sum(distances[:NEAREST]) / len(distances[:NEAREST]))
    nearer = sorted(rows)[: (len(rows) + 1) // 2]
    return sum(nearer) / len(nearer)


def people(counts: list[int], scale: float = 1.0, offset: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        (offset + scale * (rng.normal(size=(1, 5, 3)) + 0.5 * rng.normal(size=(n, 5, 3)))).astype(np.float32)
        for n in counts
    ]


def opened(gallery: list[np.ndarray], metric: str = "euc") -> ExactSearch:
    return ExactSearch([f"p{n:03d}" for n in range(len(gallery))], [*map(len, gallery)], iter(gallery), metric)


@pytest.mark.parametrize("metric", ["euc", "cos"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 0.0), (0.05, 40.0), (1e4, 0.0)])
@pytest.mark.parametrize("windows", [1, 4, 7])
def test_it_finds_what_a_plain_loop_finds(
    metric: str, scale: float, offset: float, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 16)
    monkeypatch.setattr(module, "_FIRST", 2)
    gallery = people([1, 2, 3, 4, 9, 30, 2, 5, 1, 1, 8, 6, 3, 3], scale, offset)
    search = opened(gallery, metric)
    for seed in range(4):
        (track,) = people([windows], scale, offset, 100 + seed)
        wanted = sorted((plain_distance(track, person, metric), f"p{n:03d}") for n, person in enumerate(gallery))
        for count in (1, 3, 99):
            found = search.nearest(track, count)
            assert [one.name for one in found] == [name for _, name in wanted[:count]]
            assert np.allclose([one.distance for one in found], [value for value, _ in wanted[:count]], rtol=1e-5)


@pytest.mark.parametrize("metric", ["euc", "cos"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.01, 100.0), (1e6, 0.0)])
def test_bounds_are_below_the_distances(metric: str, scale: float, offset: float) -> None:
    gallery = people([40], scale, offset)
    search = opened(gallery, metric)
    track = gallery[0][:10]  # distances from 0 on
    bounds = search._lower_bounds(search.features(0)[:10])
    for (g, window), (t, own) in itertools.product(enumerate(gallery[0]), enumerate(track)):
        exact = plain_distance(own[None], window[None], metric)
        assert bounds[t, g] * module._SLACK <= exact + 1e-12 * scale, (g, t)


def test_equal_distances_are_ordered_by_name() -> None:
    person = people([3])[0]
    found = opened([person, person, person]).nearest(person, 2)
    assert [one.name for one in found] == ["p000", "p001"]
    assert found[0].distance == found[1].distance


def test_a_bad_window_of_either_side_does_not_decide() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.float32(rng.normal(size=(1, 5, 3))) for _ in range(2))
    walk = np.repeat(a, 6, 0)
    bad = np.concatenate([walk[:5], b])  # a window of somebody else
    search = opened([bad, np.repeat(b, 6, 0)])
    assert search.nearest(walk, 1)[0] == ("p000", 0.0)
    assert search.nearest(bad, 1)[0] == ("p000", 0.0)


def test_distances_of_many_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRACKS", 2)
    gallery, tracks = people([2, 5, 1]), people([1, 3, 4, 2, 7], seed=9)
    found = distances_of_tracks(tracks, gallery, "euc")
    wanted = [[plain_distance(track, person, "euc") for person in gallery] for track in tracks]
    assert np.allclose(found, wanted, rtol=1e-5)


def test_features_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=re.escape("(C, P) = (2, 2), those of the gallery are (5, 3)")):
        opened(people([2])).nearest(np.zeros((1, 2, 2), np.float32), 1)


def test_faiss_finds_near_people() -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'dygait[faiss]'")
    gallery = people([6] * 300)
    exact = opened(gallery)
    approximate = ApproximateSearch(exact)
    rng = np.random.default_rng(5)
    for person in range(0, 300, 15):
        track = (gallery[person][:4] + 0.1 * rng.normal(size=(4, 5, 3))).astype(np.float32)
        (found,) = approximate.nearest(track, 1)
        assert found == exact.nearest(track, 1)[0]


def test_faiss_gives_the_second_person_too() -> None:
    """The nearest windows of a track are all of one person, who has many."""
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'dygait[faiss]'")
    gallery = people([100, 2])
    found = ApproximateSearch(opened(gallery)).nearest(gallery[0][:1], 2)
    assert found == opened(gallery).nearest(gallery[0][:1], 2)
    assert len(found) == 2
