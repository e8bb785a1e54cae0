"""Traits: numbers that vary between subjects, and less between the walks of one subject.

A dataclass whose fields are made by :func:`trait` declares for each number the population mean, its standard deviations
between and within subjects, and its correlations. :func:`draw` draws a subject, :func:`vary` one walk of a subject.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

MAX_DEVIATIONS = 2.0
"""Draws are clipped at this many standard deviations, to avoid impossible bodies."""

FACTORS = ("frame", "vigour", "posture")
"""Common factors of many traits: size of the skeleton, vigour of the gait, posture."""


def trait(
    mean: float, between: float, within: float = 0.0, low: float = -np.inf, high: float = np.inf, **loads: float
) -> Any:
    """Declare one trait of a dataclass.

    Args:
        mean: the population's mean, which is also the field's default.
        between: standard deviation between subjects.
        within: standard deviation between walks of one subject.
        low: lower bound of draws.
        high: upper bound of draws.
        loads: correlations with :data:`FACTORS`.

    Returns:
        A dataclass field.
    """
    assert set(loads) <= set(FACTORS)
    metadata = {"between": between, "within": within, "low": low, "high": high, "loads": loads}
    return dataclasses.field(default=mean, metadata=metadata)


def draw_factors(rng: np.random.Generator) -> dict[str, float]:
    """Draw the common factors of one subject, in standard deviations."""
    return {name: _deviation(rng) for name in FACTORS}


def draw(kind: type[T], rng: np.random.Generator, factors: Mapping[str, float]) -> T:
    """Draw a subject: every trait of ``kind``, correlated with the subject's factors."""
    deviations = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        loads = field.metadata["loads"]
        own = np.sqrt(1 - sum(load**2 for load in loads.values()))
        shared = sum(load * factors[name] for name, load in loads.items())
        deviations[field.name] = field.metadata["between"] * (shared + own * _deviation(rng))
    return _moved(kind(), deviations)


def vary(subject: T, rng: np.random.Generator) -> T:
    """Draw one walk of a subject: every trait varied by its standard deviation within subjects."""
    fields = dataclasses.fields(subject)  # type: ignore[arg-type]
    return _moved(subject, {field.name: field.metadata["within"] * _deviation(rng) for field in fields})


def _deviation(rng: np.random.Generator) -> float:
    return float(np.clip(rng.standard_normal(), -MAX_DEVIATIONS, MAX_DEVIATIONS))


def _moved(subject: T, deviations: Mapping[str, float]) -> T:
    values = {}
    for field in dataclasses.fields(subject):  # type: ignore[arg-type]
        moved = getattr(subject, field.name) + deviations[field.name]
        values[field.name] = float(np.clip(moved, field.metadata["low"], field.metadata["high"]))
    return dataclasses.replace(subject, **values)  # type: ignore[type-var]
