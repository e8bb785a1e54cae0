"""Measures of a classification: accuracy, and precision, recall and F1 averaged over classes."""

from __future__ import annotations

import numpy as np

from dygait.config.schema import CLASSIFICATION_MEASURES


def scores(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return each of `CLASSIFICATION_MEASURES` in percent, for the true and the predicted classes (N,).

    Precision, recall and F1 are means over the classes that occur in either (macro averages); of a class that is never
    predicted precision and F1 are zero.
    """
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support  # takes a second to import

    macro = precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)[:3]
    values = (accuracy_score(true, predicted), *macro)
    return {name: 100 * float(value) for name, value in zip(CLASSIFICATION_MEASURES, values, strict=True)}
