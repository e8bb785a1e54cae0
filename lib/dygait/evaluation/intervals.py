"""Confidence intervals by the bootstrap over subjects.

Sequences of one subject are correlated, so that resampling sequences would underestimate the variance. Subjects are
drawn with replacement, each with all of its probes (the cluster bootstrap; Davison and Hinkley, *Bootstrap Methods
and their Application*, 1997, chapter 3.8). The gallery is fixed, so an interval describes the variation over
probe subjects against this gallery.

Letters: M probes, Q subjects, R rows and K columns of a table, B resamples.
"""

from __future__ import annotations

import numpy as np

from dygait.config.schema import EvaluatorCfg

RESAMPLES: int = EvaluatorCfg.model_fields["intervals"].default
"""The default number of resamples, of `evaluator_cfg.intervals`."""
LEVEL = 95.0
"""Percent of the resamples that an interval covers."""

_SEED = 0
_NUMBERS = 2**22
"""Number of float64 values in one chunk of resamples."""


def bootstrap(scores: np.ndarray, subjects: np.ndarray, resamples: int, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of the scores in each resample.

    The mean is that of a table: a cell is the mean over the probes of its row, a row the mean over its cells, and the
    result the mean over rows; empty cells and rows are skipped. With one row and one column it is the plain mean.

    Args:
        scores: (M, K), one column, or one for each gallery view; NaN is skipped.
        subjects: (M,) names.
        rows: (M,) names of the rows, the probe views; None for one row.

    Returns:
        (B,) float64; NaN for a resample without scores.
    """
    subject = np.unique(subjects, return_inverse=True)[1].reshape(-1)
    row = np.zeros(len(scores), dtype=np.int64) if rows is None else np.unique(rows, return_inverse=True)[1].reshape(-1)
    shape = (int(subject.max()) + 1, int(row.max()) + 1, scores.shape[1])
    present = ~np.isnan(scores)
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (subject, row), np.where(present, scores, 0.0))
    np.add.at(counts, (subject, row), present)
    generator = np.random.default_rng(_SEED)
    means = np.empty(resamples)
    step = max(1, _NUMBERS // (shape[0] + 3 * shape[1] * shape[2]))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        sampled = generator.integers(shape[0], size=(count, shape[0])) + shape[0] * np.arange(count)[:, None]
        draws = np.bincount(sampled.reshape(-1), minlength=count * shape[0]).reshape(count, shape[0]).astype(float)
        totals, numbers = ((draws @ a.reshape(shape[0], -1)).reshape(count, *shape[1:]) for a in (sums, counts))
        with np.errstate(invalid="ignore"):  # 0 / 0, NaN, of an empty cell or row
            means[start : start + count] = _mean_of_last(_mean_of_last(totals / numbers))
    return means


def interval(samples: np.ndarray) -> tuple[float, float] | None:
    """Return the percentile interval of resampled means: (low, high); None if no resample has a score."""
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return None
    low, high = np.percentile(samples, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def _mean_of_last(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of values that are not NaN; NaN without any."""
    means: np.ndarray = np.nansum(values, -1) / (~np.isnan(values)).sum(-1)
    return means
