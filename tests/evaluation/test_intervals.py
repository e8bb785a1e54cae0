import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.evaluation import intervals
from dygait.evaluation.intervals import bootstrap, interval


def nan_mean(values: list[float]) -> float:
    valid = [v for v in values if not np.isnan(v)]
    return sum(valid) / len(valid) if valid else np.nan


def reference_bootstrap(scores: np.ndarray, subjects: list[str], rows: list[str] | None, resamples: int) -> list[float]:
    """Draw the same subjects, and compute the mean of each resample from its probes, one by one."""
    names, generator = sorted(set(subjects)), np.random.default_rng(0)
    means = []
    for _ in range(resamples):
        probes = [
            n for draw in generator.integers(len(names), size=len(names)) for n in range(len(subjects))
            if subjects[n] == names[draw]
        ]  # fmt: skip
        table = []
        for row in sorted(set(rows)) if rows else [None]:
            selected = [n for n in probes if rows is None or rows[n] == row]
            table.append(nan_mean([nan_mean([scores[n, k] for n in selected]) for k in range(scores.shape[1])]))
        means.append(nan_mean(table))
    return means


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 12), st.integers(1, 3), st.booleans())
def test_resampled_means_are_those_of_the_drawn_probes(
    data: st.DataObject, probes: int, columns: int, views: bool
) -> None:
    percentages = st.sampled_from([0.0, 50.0, 100.0, np.nan])
    scores = np.array([[data.draw(percentages) for _ in range(columns)] for _ in range(probes)])
    subjects = [data.draw(st.sampled_from("abcd")) for _ in range(probes)]
    rows = [data.draw(st.sampled_from("xyz")) for _ in range(probes)] if views else None
    actual = bootstrap(scores, np.array(subjects), 7, None if rows is None else np.array(rows))
    np.testing.assert_allclose(actual, reference_bootstrap(scores, subjects, rows, 7), rtol=0, atol=1e-9)


def test_the_result_does_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).random((40, 2))
    subjects = np.arange(40) // 3
    expected = bootstrap(scores, subjects, 50)
    monkeypatch.setattr(intervals, "_NUMBERS", 100)
    np.testing.assert_allclose(bootstrap(scores, subjects, 50), expected, rtol=0, atol=1e-12)


def test_coverage_of_the_interval() -> None:
    """Probes of a subject succeed or fail together: resampling probes would give a far too narrow interval."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        scores = np.repeat(100.0 * (generator.random(60) < 0.7), 5)[:, None]
        bounds = interval(bootstrap(scores, np.arange(300) // 5, 300))
        covered += bounds[0] <= 70 <= bounds[1]
    assert 0.90 <= covered / 200 <= 0.99


def test_no_interval_without_scores() -> None:
    assert interval(bootstrap(np.full((3, 1), np.nan), np.arange(3), 5)) is None
    assert interval(np.array([np.nan, 2.0])) == (2.0, 2.0)
