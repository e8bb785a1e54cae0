"""Traits: numbers that differ from one person to the next, and a little from one walk of a person to his next.

A dataclass whose fields are made by :func:`trait` documents, for each number, the population mean, its two spreads, and
what it hangs together with. :func:`draw` makes a person of it, :func:`vary` makes one of the person's walks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

REACH = 2.0
"""Draws are cut at this many standard deviations: nobody is a giant, and no limb has a negative girth."""

FACTORS = ("frame", "vigour", "posture")
"""What many traits of a person share: a big or small skeleton, a brisk or faint gait, a slack or upright posture."""


def trait(
    mean: float, between: float, within: float = 0.0, low: float = -np.inf, high: float = np.inf, **loads: float
) -> Any:
    """Declare one trait of a dataclass.

    Args:
        mean: the population's mean, which is also the field's default.
        between: standard deviation from person to person.
        within: standard deviation from walk to walk of the same person.
        low: no draw is below this.
        high: no draw is above this.
        loads: correlations with :data:`FACTORS`.

    Returns:
        A dataclass field.
    """
    assert set(loads) <= set(FACTORS)
    metadata = {"between": between, "within": within, "low": low, "high": high, "loads": loads}
    return dataclasses.field(default=mean, metadata=metadata)


def draw_factors(rng: np.random.Generator) -> dict[str, float]:
    """What the traits of one person share, in standard deviations."""
    return {name: _deviation(rng) for name in FACTORS}


def draw(kind: type[T], rng: np.random.Generator, factors: Mapping[str, float]) -> T:
    """A person: every trait of ``kind`` drawn from its population, in step with the person's factors."""
    deviations = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        loads = field.metadata["loads"]
        own = np.sqrt(1 - sum(load**2 for load in loads.values()))
        shared = sum(load * factors[name] for name, load in loads.items())
        deviations[field.name] = field.metadata["between"] * (shared + own * _deviation(rng))
    return _moved(kind(), deviations)


def vary(person: T, rng: np.random.Generator) -> T:
    """One walk of a person: every trait moved by its spread within a person."""
    fields = dataclasses.fields(person)  # type: ignore[arg-type]
    return _moved(person, {field.name: field.metadata["within"] * _deviation(rng) for field in fields})


def _deviation(rng: np.random.Generator) -> float:
    return float(np.clip(rng.standard_normal(), -REACH, REACH))


def _moved(person: T, deviations: Mapping[str, float]) -> T:
    values = {}
    for field in dataclasses.fields(person):  # type: ignore[arg-type]
        moved = getattr(person, field.name) + deviations[field.name]
        values[field.name] = float(np.clip(moved, field.metadata["low"], field.metadata["high"]))
    return dataclasses.replace(person, **values)  # type: ignore[type-var]
