import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation import ranking
from dygait.evaluation.ranking import first_match_rank, mean_by_view, measure, within
from reference import metrics

NAN = math.nan


def assert_equal(actual: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual.double(), torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_hand_calculated_example() -> None:
    distance = torch.tensor([[0.1, 0.4, 0.2, 0.3], [4.0, 3.0, 2.0, 1.0]])
    match = torch.tensor([[False, True, True, False], [False, False, False, True]])
    assert_equal(first_match_rank(distance, match), [2, 1])
    assert_equal(measure("mAP", distance, match), [(1 / 2 + 2 / 4) / 2, 1])
    assert_equal(measure("mINP", distance, match), [2 / 4, 1])
    assert_equal(measure("chance", distance, match), [2 / 4, 1 / 4])
    assert_equal(within(torch.tensor([2.0, 1.0, NAN]), 1), [0, 1, NAN])


def test_empty_galleries_and_no_probes() -> None:
    empty = torch.zeros(2, 0)
    for name in ("rank-1", "mAP", "mINP", "chance"):
        assert_equal(measure(name, empty, empty.bool()), [NAN, NAN])
        assert measure(name, torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool)).shape == (0,)


def test_mean_by_view() -> None:
    scores = np.array([[1.0, 0.0], [0.0, NAN], [NAN, NAN]])
    matrix = mean_by_view(scores, ["b", "b", "c"], ["b", "a"])
    assert matrix.views == ("a", "b", "c")
    np.testing.assert_array_equal(matrix.values, [[NAN, NAN, NAN], [0, 0.5, NAN], [NAN, NAN, NAN]])
    np.testing.assert_array_equal(matrix.counted, [[0, 0, 0], [1, 2, 0], [0, 0, 0]])


@st.composite
def rankings(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Few distances make ties; few subjects make many matches, many subjects make probes without a match."""
    probes, gallery = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    distance = rng.integers(0, draw(st.sampled_from([1, 2, 5, 1000])), (probes, gallery)).astype(np.float32)
    subjects = draw(st.sampled_from([1, 2, 5, 50]))
    match = rng.integers(0, subjects, (probes, 1)) == rng.integers(0, subjects, (1, gallery))
    excluded = rng.random((probes, gallery)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    mask = torch.from_numpy(excluded) if draw(st.booleans()) else None
    return torch.from_numpy(distance), torch.from_numpy(match), mask


@given(rankings())
@settings(deadline=None)
def test_every_measure_equals_the_slow_reference(case: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]) -> None:
    distance, match, excluded = case
    mask = torch.zeros_like(match) if excluded is None else excluded
    ranked = [
        metrics.ranked_matches(*rows) for rows in zip(distance.tolist(), match.tolist(), mask.tolist(), strict=True)
    ]
    for name, function in metrics.MEASURES.items():
        actual = measure(name, distance, match, excluded)
        assert_equal(actual, [NAN if value is None else value for value in map(function, ranked)])


def test_blocks_of_probes_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    distance = torch.from_numpy(rng.integers(0, 4, (40, 25)).astype(np.float32))
    match, excluded = (torch.from_numpy(rng.random((40, 25)) < share) for share in (0.15, 0.3))
    names = ("rank-1", "mAP", "mINP")
    expected = {name: measure(name, distance, match, excluded) for name in names}
    monkeypatch.setattr(ranking, "_CPU_BLOCK", 75)
    for name in names:
        actual = measure(name, distance, match, excluded)
        torch.testing.assert_close(actual, expected[name], atol=1e-15, rtol=0, equal_nan=True)
