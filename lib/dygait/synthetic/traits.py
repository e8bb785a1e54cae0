"""Traits: numbers that differ from one person to the next, and a little from one walk of a person to his next.

A dataclass whose fields are made by :func:`trait` documents, for each number, the population mean and its two spreads.
:func:`draw` makes a person of it, :func:`vary` makes one of the person's walks.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

REACH = 2.0
"""Draws are cut at this many standard deviations: nobody is a giant, and no limb has a negative girth."""


def trait(mean: float, between: float, within: float = 0.0, low: float = -np.inf, high: float = np.inf) -> Any:
    """Declare one trait of a dataclass.

    Args:
        mean: the population's mean, which is also the field's default.
        between: standard deviation from person to person.
        within: standard deviation from walk to walk of the same person.
        low: no draw is below this.
        high: no draw is above this.

    Returns:
        A dataclass field.
    """
    return dataclasses.field(default=mean, metadata={"between": between, "within": within, "low": low, "high": high})


def draw(kind: type[T], rng: np.random.Generator) -> T:
    """A person: every trait of ``kind`` drawn from its population."""
    return _spread(kind(), "between", rng)


def vary(person: T, rng: np.random.Generator) -> T:
    """One walk of a person: every trait shifted by its spread within a person."""
    return _spread(person, "within", rng)


def _spread(centre: T, spread: str, rng: np.random.Generator) -> T:
    values = {}
    for field in dataclasses.fields(centre):  # type: ignore[arg-type]
        deviation = float(np.clip(rng.standard_normal(), -REACH, REACH)) * field.metadata[spread]
        values[field.name] = float(
            np.clip(getattr(centre, field.name) + deviation, field.metadata["low"], field.metadata["high"])
        )
    return dataclasses.replace(centre, **values)  # type: ignore[type-var]
