"""The sequences of a batch: a pure function of (seed, iteration) for any number of processes."""

import itertools
from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.data.dataset import Request
from dygait.data.samplers import (
    BalancedTripletSampler,
    BilateralSampler,
    CommonSampler,
    InferenceSampler,
    TripletSampler,
)
from dygait.errors import UserError

# 6 people with 5, 2, 9, 1, 4 and 4 sequences, mixed up.
LABELS = [0, 2, 2, 1, 5, 2, 0, 3, 4, 2, 2, 5, 4, 0, 1, 2, 4, 5, 2, 0, 2, 5, 4, 2, 0]
COUNTS = Counter(LABELS)
# Of the third subject all, of the second one only.
CONDITIONS = [{"n": "nm", "b": "bg", "c": "cl"}[letter] for letter in "nnnnnbnnncbbcbnnnnncnnncc"]


def triplets(batch_size: tuple[int, int] = (4, 4), **more: Any) -> TripletSampler:
    return TripletSampler(LABELS, list(batch_size), **{"total_iterations": 12, **more})


def sequences(batches: Any) -> list[list[int]]:
    return [[request.sequence for request in batch] for batch in batches]


def flat(batches: Any) -> list[int]:
    return list(itertools.chain(*sequences(batches)))


@pytest.mark.parametrize(
    ("kind", "batch_size", "shuffle"),
    [
        (TripletSampler, [4, 4], False),
        (TripletSampler, [6, 2], True),
        (TripletSampler, [1, 8], False),
        (partial(BalancedTripletSampler, conditions=CONDITIONS), [4, 4], True),
        (CommonSampler, 8, False),
        (BilateralSampler, [4, 2], False),
    ],
)
class TestTraining:
    @pytest.mark.parametrize("world", [2, 4])
    def test_processes_divide_the_global_batch(self, kind: Any, batch_size: Any, shuffle: bool, world: int) -> None:
        batches = list(kind(LABELS, batch_size, shuffle, 3, 0, 7))
        assert len(batches) == 7
        shares = [list(kind(LABELS, batch_size, shuffle, 3, 0, 7, rank, world)) for rank in range(world)]
        for iteration, batch in enumerate(batches):
            parts = [share[iteration] for share in shares]
            assert {len(part) for part in parts} == {len(batch) // world}
            joined: list[Request] = [request for part in parts for request in part]
            assert sorted(joined, key=lambda r: r.key) == batch, "the same sequences at the same positions, each once"
            assert [request.key for request in batch] == [(3, iteration, position) for position in range(len(batch))]

    @pytest.mark.parametrize("start", [1, 5, 7, 20])
    def test_a_batch_is_a_pure_function_of_seed_and_iteration(
        self, kind: Any, batch_size: Any, shuffle: bool, start: int
    ) -> None:
        batches = list(kind(LABELS, batch_size, shuffle, 9, 0, 7))
        rest = kind(LABELS, batch_size, shuffle, 9, start, 7)
        assert len(rest) == max(0, 7 - start)
        assert list(rest) == list(rest) == batches[start:]
        assert kind(LABELS, batch_size, shuffle, 8).global_batch(3) != batches[3] != batches[4]

    def test_a_batch_that_is_not_divisible(self, kind: Any, batch_size: Any, shuffle: bool) -> None:
        with pytest.raises(UserError, match=r"batch_size: .* 7 processes"):
            kind(LABELS, batch_size, shuffle, rank=2, world_size=7)


class TestTripletSampler:
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_subjects_and_sequences(self, shuffle: bool) -> None:
        for people, per_person in ((4, 4), (6, 3), (1, 1), (2, 11)):
            for batch in sequences(triplets((people, per_person), batch_shuffle=shuffle, total_iterations=30)):
                by_person: dict[int, list[int]] = {}
                for sequence in batch:
                    by_person.setdefault(LABELS[sequence], []).append(sequence)
                assert len(by_person) == people
                for person, sequences_of_person in by_person.items():
                    assert len(sequences_of_person) == per_person
                    # Balanced: drawn without replacement until none is left, then from all of them again.
                    times = Counter(sequences_of_person)
                    assert len(times) == min(per_person, COUNTS[person])
                    assert max(times.values()) - min(times.values()) <= 1

    def test_shuffling_changes_the_order_only(self) -> None:
        plain, shuffled = sequences(triplets((4, 3))), sequences(triplets((4, 3), batch_shuffle=True))
        assert plain != shuffled
        assert [sorted(batch) for batch in plain] == [sorted(batch) for batch in shuffled]
        for batch in plain:
            assert len(list(itertools.groupby(LABELS[sequence] for sequence in batch))) == 4, "subject after subject"

    def test_every_sequence_is_drawn(self) -> None:
        assert set(flat(triplets((2, 2), total_iterations=300))) == set(range(len(LABELS)))


class TestBalancedTripletSampler:
    def batches(self, batch_size: tuple[int, int], **more: Any) -> list[list[int]]:
        return sequences(
            BalancedTripletSampler(LABELS, list(batch_size), conditions=CONDITIONS, **{"total_iterations": 60, **more})
        )

    @pytest.mark.parametrize("size", [(4, 4), (6, 3), (2, 11)])
    def test_conditions_of_a_subject_are_equally_frequent(self, size: tuple[int, int]) -> None:
        for batch in self.batches(size):
            assert len(batch) == size[0] * size[1]
            by_person: dict[int, list[int]] = {}
            for sequence in batch:
                by_person.setdefault(LABELS[sequence], []).append(sequence)
            for person, drawn in by_person.items():
                has = Counter(c for label, c in zip(LABELS, CONDITIONS, strict=True) if label == person)
                counts = Counter(CONDITIONS[sequence] for sequence in drawn)
                assert len(drawn) == size[1]
                assert len(counts) == min(len(has), size[1])
                assert max(counts.values()) - min(counts.values()) <= 1
                for condition, count in counts.items():  # none twice before all of its condition
                    times = Counter(s for s in drawn if CONDITIONS[s] == condition)
                    assert len(times) == min(count, has[condition])

    def test_every_sequence_and_every_condition_is_drawn_first(self) -> None:
        batches = self.batches((6, 2), total_iterations=300)
        assert set(itertools.chain(*batches)) == set(range(len(LABELS)))
        firsts = Counter(CONDITIONS[batch[0]] for batch in batches if LABELS[batch[0]] == 2)
        assert set(firsts) == {"nm", "bg", "cl"}


def test_common_draws_each_sequence_at_most_once_if_possible() -> None:
    batches = sequences(CommonSampler(LABELS, 8, total_iterations=40))
    assert {len(set(batch)) for batch in batches} == {8}
    assert set(itertools.chain(*batches)) == set(range(len(LABELS)))
    for batch in sequences(CommonSampler(LABELS[:5], 12, total_iterations=5)):
        assert len(batch) == 12
        assert set(batch) <= set(range(5))


class TestBilateralSampler:
    def test_an_epoch_has_every_sequence_in_one_batch_twice(self) -> None:
        batches = list(BilateralSampler(LABELS, [4, 2], total_iterations=9))  # 25 sequences: 3 batches of 8 an epoch
        epochs = [flat(batches[start : start + 3]) for start in (0, 3, 6)]
        for epoch in epochs:
            assert sorted(Counter(epoch).values()) == [2] * 24
        assert len(set(map(tuple, epochs))) == 3
        for batch in batches:
            (drawn,) = sequences([batch])
            assert drawn[:8] == drawn[8:]
            assert len({request.key for request in batch}) == 16, "the frames of the two are drawn independently"

    def test_both_samples_of_a_sequence_are_in_one_process(self) -> None:
        for share in sequences(BilateralSampler(LABELS, [4, 2], total_iterations=7, world_size=2)):
            assert set(Counter(share).values()) == {2}

    def test_too_few(self) -> None:
        with pytest.raises(UserError, match=r"P x K = 26 .* 25 "):
            BilateralSampler(LABELS, [13, 2])


LENGTHS = [30, 10, 20, 20, 50, 5, 70, 20, 31, 44, 12]


def shares_of(
    lengths: list[int], budget: int, batch_size: int | None = None, world: int = 1, done: tuple[int, ...] = ()
) -> list[list[list[Request]]]:
    shares = []
    for rank in range(world):
        sampler = InferenceSampler(lengths, budget, batch_size, rank=rank, world_size=world)
        sampler.done = frozenset(done)
        shares.append(list(sampler))
        assert len(sampler) == len(shares[-1])
        assert sequences(shares[-1]) == [sampler.batches[n] for n in sampler.batches_of_rank()]
    return shares


class TestInferenceSampler:
    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        lengths=st.lists(st.integers(1, 60), max_size=30),
        budget=st.integers(1, 200),
        batch_size=st.none() | st.integers(1, 6),
        world=st.integers(1, 5),
        data=st.data(),
    )
    def test_every_sequence_once_within_the_budget_for_any_number_of_processes(
        self, lengths: list[int], budget: int, batch_size: int | None, world: int, data: st.DataObject
    ) -> None:
        (alone,) = shares_of(lengths, budget, batch_size)
        assert sorted(flat(alone)) == list(range(len(lengths)))
        for batch in sequences(alone):
            assert len(batch) == 1 or len(batch) * max(lengths[sequence] for sequence in batch) <= budget
            assert batch_size is None or len(batch) <= batch_size
        ordered = [lengths[sequence] for sequence in flat(alone)]
        assert ordered == sorted(lengths, reverse=True), "neighbours have similar lengths"

        numbers = range(len(alone))
        done = data.draw(st.sets(st.sampled_from(numbers))) if alone else set()
        shares = shares_of(lengths, budget, batch_size, world, tuple(done))
        remaining = [alone[n] for n in numbers if n not in done]
        assert sorted(batch for share in shares for batch in share) == sorted(remaining)
        padded = [[len(b) * max(lengths[r.sequence] for r in b) for b in batches] for batches in (*shares, remaining)]
        loads = [sum(share) for share in padded[:-1]]
        assert max(loads) - min(loads) <= max(padded[-1], default=0)

    def test_as_many_as_the_budget_holds(self) -> None:
        (batches,) = shares_of(LENGTHS, 100)
        assert [[LENGTHS[s] for s in batch] for batch in sequences(batches)] == [
            [70], [50, 44], [31, 30, 20], [20, 20, 12, 10, 5],
        ]  # fmt: skip
        (batches,) = shares_of(LENGTHS, 100, 2)
        assert [[LENGTHS[s] for s in batch] for batch in sequences(batches)][2:4] == [[31, 30], [20, 20]]

    @pytest.mark.parametrize("world", [1, 3])
    def test_random_numbers_of_a_sequence_depend_on_no_batch_or_process(self, world: int) -> None:
        for share in shares_of(LENGTHS, 100, world=world):
            assert all(request.key == (0, 0, request.sequence) for batch in share for request in batch)
        assert next(iter(InferenceSampler([1], 1, seed=6)))[0].key == (6, 0, 0)
