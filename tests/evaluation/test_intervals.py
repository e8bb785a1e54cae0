import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation import intervals
from dygait.evaluation.intervals import bootstrap, interval


def mean(values: list[float]) -> float:
    kept = [v for v in values if not np.isnan(v)]
    return sum(kept) / len(kept) if kept else np.nan


def plainly(scores: np.ndarray, subjects: list[str], rows: list[str] | None, resamples: int) -> list[float]:
    """Draw the same subjects, and compute each table from the probes that were drawn, one after the other."""
    names, generator = sorted(set(subjects)), np.random.default_rng(0)
    found = []
    for _ in range(resamples):
        probes = [
            m for draw in generator.integers(len(names), size=len(names)) for m in range(len(subjects))
            if subjects[m] == names[draw]
        ]  # fmt: skip
        table = []
        for row in sorted(set(rows)) if rows else [None]:
            chosen = [m for m in probes if rows is None or rows[m] == row]
            table.append(mean([mean([scores[m, k] for m in chosen]) for k in range(scores.shape[1])]))
        found.append(mean(table))
    return found


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 3), st.booleans())
def test_resampled_means_are_those_of_the_drawn_probes(
    data: st.DataObject, probes: int, columns: int, views: bool
) -> None:
    numbers = st.sampled_from([0.0, 50.0, 100.0, np.nan])
    scores = np.array([[data.draw(numbers) for _ in range(columns)] for _ in range(probes)])
    subjects = [data.draw(st.sampled_from("abcd")) for _ in range(probes)]
    rows = [data.draw(st.sampled_from("xyz")) for _ in range(probes)] if views else None
    found = bootstrap(scores, np.array(subjects), 7, None if rows is None else np.array(rows))
    np.testing.assert_allclose(found, plainly(scores, subjects, rows, 7), rtol=0, atol=1e-9)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).random((40, 2))
    subjects = np.arange(40) // 3
    whole = bootstrap(scores, subjects, 50)
    monkeypatch.setattr(intervals, "_NUMBERS", 100)
    np.testing.assert_allclose(bootstrap(scores, subjects, 50), whole, rtol=0, atol=1e-12)


def test_an_interval_covers_the_truth_as_often_as_its_level() -> None:
    """Probes of a subject succeed or fail together: drawing probes would give an interval that is far too narrow."""
    generator = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        scores = np.repeat(100.0 * (generator.random(60) < 0.7), 5)[:, None]
        found = interval(bootstrap(scores, np.arange(300) // 5, 300))
        inside += found[0] <= 70 <= found[1]
    assert 0.90 <= inside / 200 <= 0.99


def test_without_scores_there_is_no_interval() -> None:
    assert interval(bootstrap(np.full((3, 1), np.nan), np.arange(3), 5)) is None
    assert interval(np.array([np.nan, 2.0])) == (2.0, 2.0)
