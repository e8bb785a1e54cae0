from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation import ranking
from dygait.evaluation.ranking import (
    average_precision,
    chance,
    cmc,
    equal_labels,
    first_match_rank,
    inverse_negative_penalty,
    last_match_rank,
    mean_by_view,
    measure,
    measure_all,
    rank1_by_view,
)
from reference import metrics

NAN = math.nan


def same(found: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def random_case(seed: int, levels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distances with many ties, some probes without a match, some with everything excluded."""
    rng = np.random.default_rng(seed)
    distance = torch.from_numpy(rng.integers(0, levels, size=(40, 25)).astype(np.float32))
    match = torch.from_numpy(rng.random((40, 25)) < 0.15)
    excluded = torch.from_numpy(rng.random((40, 25)) < 0.3)
    match[0], match[1] = False, True
    excluded[2] = True
    excluded[3] = match[3]
    return distance, match, excluded


@pytest.mark.parametrize("name", ["rank-1", "rank-2", "rank-5", "rank-20", "mAP", "mINP", "chance"])
@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("with_exclusion", [False, True])
def test_equals_the_slow_reference(name: str, levels: int, with_exclusion: bool) -> None:
    distance, match, excluded = random_case(levels, levels)
    mask = excluded if with_exclusion else torch.zeros_like(excluded)
    expected = [
        metrics.MEASURES[name](metrics.ranked_matches(d, m, e))
        for d, m, e in zip(distance.tolist(), match.tolist(), mask.tolist(), strict=True)
    ]
    mask_or_none = mask if with_exclusion else None
    found = chance(match, mask_or_none) if name == "chance" else measure(name, distance, match, mask_or_none)
    same(found, [NAN if value is None else value for value in expected])
    assert any(value is None for value in expected)


def test_numbers_made_by_hand() -> None:
    distance = torch.tensor([[0.1, 0.4, 0.2, 0.3], [4.0, 3.0, 2.0, 1.0]])
    match = torch.tensor([[False, True, True, False], [False, False, False, True]])
    same(first_match_rank(distance, match), [2, 1])
    same(last_match_rank(distance, match), [4, 1])
    same(average_precision(distance, match), [(1 / 2 + 2 / 4) / 2, 1])
    same(inverse_negative_penalty(distance, match), [2 / 4, 1])
    same(chance(match), [2 / 4, 1 / 4])
    same(cmc(distance, match, 3), [0.5, 1, 1])


def test_the_gallery_order_decides_ties() -> None:
    distance = torch.zeros(3, 4)
    match = torch.tensor([[True, False, True, False], [False, True, False, False], [False, False, False, True]])
    same(first_match_rank(distance, match), [1, 2, 4])
    same(last_match_rank(distance, match), [3, 2, 4])
    same(average_precision(distance, match), [(1 + 2 / 3) / 2, 1 / 2, 1 / 4])


def test_excluding_moves_up_what_is_behind() -> None:
    distance = torch.tensor([[0.0, 1.0, 2.0]])
    match = torch.tensor([[True, False, True]])
    excluded = torch.tensor([[True, False, False]])
    same(first_match_rank(distance, match, excluded), [2])
    same(inverse_negative_penalty(distance, match, excluded), [1 / 2])
    same(chance(match, excluded), [1 / 2])
    same(first_match_rank(distance, match, match), [NAN])


def test_nothing_to_rank() -> None:
    empty = torch.zeros(2, 0)
    for function in (first_match_rank, last_match_rank, average_precision, inverse_negative_penalty):
        same(function(empty, empty.bool()), [NAN, NAN])
        assert function(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool)).shape == (0,)
    same(cmc(torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool), 2), [NAN, NAN])


def test_cmc_is_the_share_at_every_rank() -> None:
    distance, match, excluded = random_case(5, 7)
    expected = [metrics.mean([metrics.rank_k(r, k) for r in _ranked(distance, match, excluded)]) for k in range(1, 26)]
    same(cmc(distance, match, 25, excluded), expected)


def _ranked(*arrays: torch.Tensor) -> list[list[bool]]:
    return [metrics.ranked_matches(*rows) for rows in zip(*(a.tolist() for a in arrays), strict=True)]


def test_equal_labels() -> None:
    assert equal_labels(["a", "b"], np.array(["b", "c", "a"])).tolist() == [[False, False, True], [True, False, False]]
    assert equal_labels([], ["a"]).shape == (0, 1)


def test_mean_by_view() -> None:
    scores = np.array([[1.0, 0.0], [0.0, NAN], [NAN, NAN]])
    found = mean_by_view(scores, ["b", "b", "c"], ["b", "a"])
    assert found.views == ("a", "b", "c")
    np.testing.assert_array_equal(found.values, [[NAN, NAN, NAN], [0, 0.5, NAN], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(found.counted, [[0, 0, 0], [1, 2, 0], [0, 0, 0]])


def test_rank1_by_view_made_by_hand() -> None:
    #                         gallery: A@0   B@0   A@1   C@1
    distance = torch.tensor(
        [
            [0.1, 0.2, 0.9, 0.8],  # probe A@0: right in view 0, wrong in view 1
            [0.1, 0.2, 0.9, 0.8],  # probe B@0: wrong in view 0, without a match in view 1
            [0.3, 0.2, 0.1, 0.8],  # probe A@1: wrong in view 0, right in view 1
        ]
    )
    found = rank1_by_view(distance, ["A", "B", "A"], ["0", "0", "1"], ["A", "B", "A", "C"], ["0", "0", "1", "1"])
    assert found.views == ("0", "1")
    np.testing.assert_array_equal(found.values, [[50, 0], [0, 100]])
    np.testing.assert_array_equal(found.counted, [[2, 1], [1, 1]])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Few levels make ties; few labels make many matches, many labels probes without any."""
    probes, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distance = rng.integers(0, draw(st.sampled_from([1, 2, 5, 1000])), (probes, gallery)).astype(np.float32)
    people = draw(st.sampled_from([1, 2, 5, 50]))
    match = rng.integers(0, people, (probes, 1)) == rng.integers(0, people, (1, gallery))
    excluded = rng.random((probes, gallery)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    some = torch.from_numpy(excluded) if draw(st.booleans()) else None
    return torch.from_numpy(distance), torch.from_numpy(match), some


@given(rankings())
@settings(deadline=None)
def test_every_measure_equals_the_slow_reference(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None],
) -> None:
    distance, match, excluded = case
    mask = torch.zeros_like(match) if excluded is None else excluded
    ranked = _ranked(distance, match, mask)
    names = [name for name in metrics.MEASURES if name != "chance"]
    found = {**measure_all(names, distance, match, excluded), "chance": chance(match, excluded)}
    for name, function in metrics.MEASURES.items():
        same(found[name], [NAN if value is None else value for value in map(function, ranked)])
    shares = [metrics.mean([metrics.rank_k(row, k) for row in ranked]) for k in (1, 2, 3)]
    same(cmc(distance, match, 3, excluded), [NAN if share is None else share for share in shares])


def test_the_blocks_of_probes_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    distance, match, excluded = random_case(0, 4)
    names = ("rank-1", "mAP", "mINP")
    expected = measure_all(names, distance, match, excluded)
    monkeypatch.setattr(ranking, "_BLOCK", {"cpu": 75})
    found = measure_all(names, distance, match, excluded)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], atol=1e-15, rtol=0, equal_nan=True)
