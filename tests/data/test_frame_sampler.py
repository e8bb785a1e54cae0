"""The choice of frames, against lists of all possible choices, and its invariants for many lengths and seeds."""

import numpy as np
import pytest

from dygait.data.frame_sampler import FrameSampler, window_starts
from reference import sampling


def draw(sampler: FrameSampler, length: int, seed: int) -> list[int]:
    indices = sampler(length, np.random.default_rng(seed))
    assert indices.dtype == np.int64
    return indices.tolist()


@pytest.mark.parametrize(
    ("length", "count", "skip"),
    [(8, 3, 0), (8, 3, 2), (5, 5, 0), (5, 4, 1), (3, 4, 0), (2, 5, 1), (1, 3, 0), (4, 3, 3)],
)
def test_fixed_ordered_draws_all_possible_choices_and_no_others(length: int, count: int, skip: int) -> None:
    possible = sampling.ordered_choices(length, count, skip)
    sampler = FrameSampler("fixed_ordered", frames_num_fixed=count, frames_skip_num=skip)
    drawn = {tuple(draw(sampler, length, seed)) for seed in range(40 * len(possible))}
    assert drawn == possible


def test_every_window_is_equally_likely() -> None:
    sampler = FrameSampler("fixed_ordered", frames_num_fixed=30)
    counts = np.bincount([draw(sampler, 39, seed)[0] for seed in range(2000)], minlength=10)
    assert len(counts) == 10
    assert counts.min() > 140  # 200 expected, standard deviation 13.4
    assert counts.max() < 260


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 20])
def test_unordered_draws_without_repetition_if_possible(length: int) -> None:
    sampler = FrameSampler("fixed_unordered", frames_num_fixed=6)
    draws = [draw(sampler, length, seed) for seed in range(50)]
    assert {len(choice) for choice in draws} == {6}
    assert {v for choice in draws for v in choice} == set(range(length)), "every frame, and no other"
    assert length < 6 or all(sampling.repetitions(choice) == [1] * 6 for choice in draws)
    assert length < 3 or any(choice != sorted(choice) for choice in draws)


@pytest.mark.parametrize("order", ["ordered", "unordered"])
def test_unfixed_draws_the_number_too(order: str) -> None:
    sampler = FrameSampler(f"unfixed_{order}", frames_num_min=1, frames_num_max=4)
    for length in (2, 3, 40):
        draws = [draw(sampler, length, seed) for seed in range(100)]
        assert {len(choice) for choice in draws} == {1, 2, 3, 4}, "both ends included"
        for choice in draws:
            if order == "ordered":
                assert tuple(choice) in sampling.ordered_choices(length, len(choice), 0)
            elif length >= len(choice):
                assert sampling.repetitions(choice) == [1] * len(choice)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 10, 21])
@pytest.mark.parametrize("limit", [None, -1, 1, 7, 8, 9])
def test_all(length: int, limit: int | None) -> None:
    expected = sampling.middle(length, None if limit == -1 else limit)
    assert draw(FrameSampler("all_ordered", frames_all_limit=limit), length, 0) == expected
    draws = [draw(FrameSampler("all_unordered", frames_all_limit=limit), length, seed) for seed in range(20)]
    assert all(sorted(choice) == expected for choice in draws)
    assert len(expected) < 3 or len({tuple(choice) for choice in draws}) > 1


@pytest.mark.parametrize(
    "kind", ["fixed_ordered", "fixed_unordered", "unfixed_ordered", "unfixed_unordered", "all_unordered"]
)
def test_a_choice_is_a_pure_function_of_length_and_generator(kind: str) -> None:
    sampler = FrameSampler(kind, 6, 3, 9, frames_skip_num=2)
    first = [draw(sampler, 30, seed) for seed in range(10)]
    assert [draw(sampler, 30, seed) for seed in reversed(range(10))][::-1] == first
    assert len(set(map(tuple, first))) > 5


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_every_third_frame(length: int) -> None:
    phases = [list(range(phase, length, 3)) for phase in range(min(3, length))]
    drawn = [draw(FrameSampler("fixed_ordered", 2, frames_step=3), length, seed) for seed in range(200)]
    possible = {tuple(p[i] for i in choice) for p in phases for choice in sampling.ordered_choices(len(p), 2, 0)}
    assert set(map(tuple, drawn)) == possible
    assert draw(FrameSampler("all_ordered", frames_step=3), length, 0) == phases[0]
    limited = FrameSampler("all_ordered", frames_step=3, frames_all_limit=2)
    assert draw(limited, length, 0) == [phases[0][i] for i in sampling.middle(len(phases[0]), 2)]


@pytest.mark.parametrize("size", [1, 4, 7])
def test_windows_are_the_fewest_that_cover_a_sequence(size: int) -> None:
    for length in range(1, 30):
        starts = window_starts(length, size)
        covered = {frame for start in starts.tolist() for frame in range(start, min(start + size, length))}
        assert covered == set(range(length))
        assert len(starts) == max(1, -(-length // size))
        assert starts.max() == max(length - size, 0)


@pytest.mark.parametrize("limit", [None, -1, 4])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("kind", ["fixed", "unfixed", "all"])
def test_max_frames(kind: str, step: int, limit: int | None) -> None:
    sampler = FrameSampler(f"{kind}_ordered", 5, 2, 6, frames_all_limit=limit, frames_step=step)
    lengths = np.array([1, 3, 4, 9])
    drawn = [[len(draw(sampler, length, seed)) for seed in range(40)] for length in lengths.tolist()]
    assert sampler.max_frames(lengths).tolist() == [max(counts) for counts in drawn]
