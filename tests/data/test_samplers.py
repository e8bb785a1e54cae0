"""Which sequences make a batch: a pure function of (seed, iteration), whatever the number of processes."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.data import SAMPLERS, InferenceSampler, Request, TripletSampler
from dygait.data.samplers import BilateralSampler, CommonSampler
from dygait.errors import UserError

# 6 people with 5, 2, 9, 1, 4 and 4 sequences, mixed up.
LABELS = [0, 2, 2, 1, 5, 2, 0, 3, 4, 2, 2, 5, 4, 0, 1, 2, 4, 5, 2, 0, 2, 5, 4, 2, 0]
COUNTS = Counter(LABELS)


def sampler(batch_size: tuple[int, int] = (4, 4), total: int = 12, **more: int | bool) -> TripletSampler:
    return TripletSampler(LABELS, list(batch_size), total_iterations=total, **more)  # type: ignore[arg-type]


class TestTripletSampler:
    @pytest.mark.parametrize("batch_size", [(4, 4), (6, 2), (1, 8), (2, 6)])
    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("world", [2, 4])
    def test_processes_share_out_the_batch_of_one(self, batch_size: tuple[int, int], shuffle: bool, world: int) -> None:
        whole = list(sampler(batch_size, batch_shuffle=shuffle, seed=3))
        shares = [
            list(sampler(batch_size, batch_shuffle=shuffle, seed=3, rank=rank, world_size=world))
            for rank in range(world)
        ]
        assert all(len(share) == len(whole) == 12 for share in shares)
        for iteration, batch in enumerate(whole):
            parts = [share[iteration] for share in shares]
            assert {len(part) for part in parts} == {len(batch) // world}
            together: list[Request] = [r for part in parts for r in part]
            assert sorted(together, key=lambda r: r.key) == batch, "the same sequences at the same positions, each once"

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_people_and_sequences(self, shuffle: bool) -> None:
        for people, each in ((4, 4), (6, 3), (1, 1), (2, 11)):
            for iteration in range(30):
                batch = sampler((people, each), batch_shuffle=shuffle).global_batch(iteration)
                by_person: dict[int, list[int]] = {}
                for request in batch:
                    by_person.setdefault(LABELS[request.sequence], []).append(request.sequence)
                assert len(by_person) == people
                for person, chosen in by_person.items():
                    assert len(chosen) == each
                    # Balanced: without replacement while there are enough, then all of them again.
                    times = Counter(chosen)
                    assert len(times) == min(each, COUNTS[person])
                    assert max(times.values()) - min(times.values()) <= 1

    def test_without_shuffling_people_come_one_after_the_other(self) -> None:
        for batch in sampler((4, 3)):
            people = [LABELS[r.sequence] for r in batch]
            assert len([k for k, _ in itertools.groupby(people)]) == 4

    def test_shuffling_changes_the_order_and_nothing_else(self) -> None:
        plain, shuffled = list(sampler((4, 3))), list(sampler((4, 3), batch_shuffle=True))
        for one, other in zip(plain, shuffled, strict=True):
            assert sorted(r.sequence for r in one) == sorted(r.sequence for r in other)
        assert any(
            [r.sequence for r in one] != [r.sequence for r in other] for one, other in zip(plain, shuffled, strict=True)
        )

    def test_every_person_and_sequence_comes_up(self) -> None:
        seen = Counter(r.sequence for batch in sampler((2, 2), total=300) for r in batch)
        assert set(seen) == set(range(len(LABELS)))

    @pytest.mark.parametrize("start", [1, 5, 11, 12])
    def test_going_on_is_as_if_never_interrupted(self, start: int) -> None:
        whole = list(sampler(seed=9))
        rest = sampler(seed=9, first_iteration=start)
        assert len(rest) == 12 - start
        assert list(rest) == whole[start:]
        assert list(rest) == whole[start:], "and once more"

    def test_past_the_end_there_is_nothing(self) -> None:
        assert len(sampler(first_iteration=20)) == 0
        assert list(sampler(first_iteration=20)) == []

    def test_a_batch_is_a_pure_function_of_seed_and_iteration(self) -> None:
        one, other = sampler(seed=4), sampler(seed=4)
        other.global_batch(7)
        assert one.global_batch(3) == other.global_batch(3) == list(sampler(seed=4))[3]
        assert one.global_batch(3) != one.global_batch(4)
        assert one.global_batch(3) != sampler(seed=5).global_batch(3)

    def test_keys_are_seed_iteration_and_position(self) -> None:
        assert [r.key for r in sampler(seed=4).global_batch(3)] == [(4, 3, position) for position in range(16)]

    def test_too_many_people(self) -> None:
        with pytest.raises(UserError, match=r"trainer_cfg.sampler.batch_size: P = 7 .* 6 train; lower P to 6"):
            sampler((7, 2))

    @pytest.mark.parametrize("rank", [0, 2])
    def test_a_batch_that_is_not_divisible(self, rank: int) -> None:
        with pytest.raises(UserError, match=r"batch_size: 4 x 2 = 8 .* 3 processes"):
            sampler((4, 2), rank=rank, world_size=3)


LENGTHS = [30, 10, 20, 20, 50, 5, 70, 20, 31, 44, 12]


def dealt(
    lengths: list[int], budget: int, batch_size: int | None = None, world: int = 1, done: tuple[int, ...] = ()
) -> list[list[list[Request]]]:
    """Return the batches of every process."""
    found = []
    for rank in range(world):
        sampler = InferenceSampler(lengths, budget, batch_size, rank=rank, world_size=world)
        sampler.done = frozenset(done)
        found.append(list(sampler))
        assert len(sampler) == len(found[-1])
        assert [[r.sequence for r in batch] for batch in found[-1]] == [
            sampler.batches[n] for n in sampler.batches_of_rank()
        ]
    return found


class TestInferenceSampler:
    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        lengths=st.lists(st.integers(1, 60), max_size=30),
        budget=st.integers(1, 200),
        batch_size=st.none() | st.integers(1, 6),
        world=st.integers(1, 5),
        data=st.data(),
    )
    def test_every_sequence_once_within_the_budget_whatever_the_processes(
        self, lengths: list[int], budget: int, batch_size: int | None, world: int, data: st.DataObject
    ) -> None:
        (alone,) = dealt(lengths, budget, batch_size)
        assert sorted(r.sequence for batch in alone for r in batch) == list(range(len(lengths)))
        for batch in alone:
            assert len(batch) == 1 or len(batch) * max(lengths[r.sequence] for r in batch) <= budget
            assert batch_size is None or len(batch) <= batch_size
        flat = [lengths[r.sequence] for batch in alone for r in batch]
        assert flat == sorted(lengths, reverse=True), "those of like length are neighbours"

        numbers = range(len(alone))
        done = data.draw(st.sets(st.sampled_from(numbers))) if alone else set()
        shares = dealt(lengths, budget, batch_size, world, tuple(done))
        left = [alone[n] for n in numbers if n not in done]
        assert sorted(batch for share in shares for batch in share) == sorted(left)
        loads = [sum(len(b) * max(lengths[r.sequence] for r in b) for b in share) for share in shares]
        largest = max([len(b) * max(lengths[r.sequence] for r in b) for b in left], default=0)
        assert max(loads) - min(loads) <= largest

    def test_as_many_as_the_budget_holds(self) -> None:
        (found,) = dealt(LENGTHS, 100)
        assert [[LENGTHS[r.sequence] for r in batch] for batch in found] == [
            [70], [50, 44], [31, 30, 20], [20, 20, 12, 10, 5],
        ]  # fmt: skip
        assert [[LENGTHS[r.sequence] for r in batch] for batch in dealt(LENGTHS, 100, 2)[0]][2:4] == [
            [31, 30],
            [20, 20],
        ]

    def test_more_processes_than_batches(self) -> None:
        assert [len(share) for share in dealt([3, 2], 5, world=4)] == [1, 1, 0, 0]
        assert dealt([], 5, world=2) == [[], []]

    @pytest.mark.parametrize("world", [1, 3])
    def test_what_is_drawn_for_a_sequence_depends_on_no_batch_or_process(self, world: int) -> None:
        for share in dealt(LENGTHS, 100, world=world):
            assert all(r.key == (0, 0, r.sequence) for batch in share for r in batch)
        assert next(iter(InferenceSampler([1], 1, seed=6)))[0].key == (6, 0, 0)


def test_names() -> None:
    assert SAMPLERS.names() == ["BilateralSampler", "CommonSampler", "InferenceSampler", "TripletSampler"]


class TestCommonSampler:
    def test_any_sequences_each_at_most_once(self) -> None:
        batches = list(CommonSampler(LABELS, 8, total_iterations=40))
        assert len(batches) == 40
        for batch in batches:
            assert len({r.sequence for r in batch}) == 8
        assert {r.sequence for batch in batches for r in batch} == set(range(len(LABELS)))

    def test_more_than_available_are_repeated(self) -> None:
        for batch in CommonSampler(LABELS[:5], 12, total_iterations=5):
            assert len(batch) == 12
            assert {r.sequence for r in batch} <= set(range(5))

    def test_a_batch_that_is_not_divisible(self) -> None:
        with pytest.raises(UserError, match=r"batch_size: 8 sequences .* 3 processes"):
            CommonSampler(LABELS, 8, world_size=3)


class TestBilateralSampler:
    def test_a_round_has_every_sequence_once_and_each_batch_has_it_twice(self) -> None:
        batches = list(BilateralSampler(LABELS, [4, 2], total_iterations=9))  # 25 sequences: three batches of 8 a round
        rounds = [batches[start : start + 3] for start in (0, 3, 6)]
        for one in rounds:
            seen = Counter(r.sequence for batch in one for r in batch)
            assert len(seen) == 24
            assert set(seen.values()) == {2}
        assert len({tuple(r.sequence for batch in one for r in batch) for one in rounds}) == 3
        for batch in batches:
            assert [r.sequence for r in batch[:8]] == [r.sequence for r in batch[8:]]
            assert len({r.key for r in batch}) == 16, "the two are drawn apart"

    def test_too_few(self) -> None:
        with pytest.raises(UserError, match=r"P x K = 26 .* 25 "):
            BilateralSampler(LABELS, [13, 2])


@pytest.mark.parametrize(("kind", "batch_size"), [(CommonSampler, 8), (BilateralSampler, [4, 2])])
class TestBoth:
    @pytest.mark.parametrize("world", [2, 4])
    def test_processes_share_out_the_batch_of_one(self, kind: Any, batch_size: Any, world: int) -> None:
        whole = list(kind(LABELS, batch_size, seed=3, total_iterations=7))
        parts = [list(kind(LABELS, batch_size, False, 3, 0, 7, rank, world)) for rank in range(world)]
        for iteration, batch in enumerate(whole):
            together = [r for part in parts for r in part[iteration]]
            assert sorted(together, key=lambda r: r.key) == batch
            assert {len(part[iteration]) for part in parts} == {len(batch) // world}

    def test_both_views_of_a_sequence_are_one_processs(self, kind: Any, batch_size: Any) -> None:
        for share in kind(LABELS, batch_size, total_iterations=7, world_size=2):
            times = set(Counter(r.sequence for r in share).values())
            assert times == ({2} if kind is BilateralSampler else {1})

    def test_a_batch_is_a_pure_function_of_seed_and_iteration(self, kind: Any, batch_size: Any) -> None:
        whole = list(kind(LABELS, batch_size, seed=9, total_iterations=9))
        rest = kind(LABELS, batch_size, seed=9, first_iteration=5, total_iterations=9)
        assert len(rest) == 4
        assert list(rest) == whole[5:]
        assert kind(LABELS, batch_size, seed=8).global_batch(3) != whole[3] != whole[4]
