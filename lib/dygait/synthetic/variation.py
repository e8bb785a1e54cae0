"""Traits: quantities that vary between subjects, and less between the walks of one subject.

A dataclass whose fields are made by :func:`trait` declares for each number the population mean, its standard deviations
between and within subjects, and its correlations. :func:`draw` draws a subject, :func:`vary` one walk of a subject.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

MAX_DEVIATIONS = 2.0
"""Draws are clipped at this many standard deviations, to avoid impossible bodies."""

FACTORS = ("frame", "vigour", "posture")
"""Factors that many traits have in common: size of the skeleton, vigour of the gait, posture."""


def trait(mean: float, between: float, within: float = 0.0, low: float = -np.inf, **loads: float) -> Any:
    """Declare a trait as a dataclass field.

    Args:
        mean: the population's mean, which is also the field's default.
        between: standard deviation between subjects.
        within: standard deviation between walks of one subject.
        low: lower bound of draws.
        loads: correlations with :data:`FACTORS`.
    """
    assert set(loads) <= set(FACTORS)
    metadata = {"between": between, "within": within, "low": low, "loads": loads}
    return dataclasses.field(default=mean, metadata=metadata)


def draw_factors(rng: np.random.Generator) -> dict[str, float]:
    """Draw the common factors of one subject, in standard deviations."""
    return dict(zip(FACTORS, _deviations(rng, len(FACTORS)), strict=True))


def draw(
    kind: type[T],
    rng: np.random.Generator,
    factors: Mapping[str, float],
    spread: float = 1.0,
    spreads: Mapping[str, float] | None = None,
) -> T:
    """Draw the traits of a subject, correlated with the common factors.

    Args:
        spread: factor on all deviations.
        spreads: further factors on those of some traits.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    changes = []
    for field, deviation in zip(fields, _deviations(rng, len(fields)), strict=True):
        loads = field.metadata["loads"]
        unique_load = math.sqrt(1 - sum(load**2 for load in loads.values()))
        shared = sum(load * factors[name] for name, load in loads.items())
        scale = spread if spreads is None else spread * spreads.get(field.name, 1.0)
        changes.append(scale * (field.metadata["between"] * (shared + unique_load * deviation)))
    return _add_to_traits(kind(), changes)


def vary(subject: T, rng: np.random.Generator, spread: float = 1.0) -> T:
    """Draw the traits of one walk of a subject; ``spread`` scales the deviations within subjects."""
    fields = dataclasses.fields(subject)  # type: ignore[arg-type]
    deviations = _deviations(rng, len(fields))
    changes = [spread * (f.metadata["within"] * deviation) for f, deviation in zip(fields, deviations, strict=True)]
    return _add_to_traits(subject, changes)


def shifted(traits: T, shifts: Mapping[str, float], share: float) -> T:
    """Return traits with a share of the shifts of their means added."""
    fields = dataclasses.fields(traits)  # type: ignore[arg-type]
    return _add_to_traits(traits, [share * shifts.get(field.name, 0.0) for field in fields])


def _deviations(rng: np.random.Generator, count: int) -> list[float]:
    return rng.standard_normal(count).clip(-MAX_DEVIATIONS, MAX_DEVIATIONS).tolist()


def _add_to_traits(subject: T, changes: Sequence[float]) -> T:
    pairs = zip(dataclasses.fields(subject), changes, strict=True)  # type: ignore[arg-type]
    return type(subject)(*(max(getattr(subject, f.name) + change, f.metadata["low"]) for f, change in pairs))
