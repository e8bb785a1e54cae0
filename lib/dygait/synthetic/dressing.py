"""Clothes and carried things of a subject in one walk, from several outfits per subject (`wardrobe` in world.py)."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from dygait.synthetic import carried
from dygait.synthetic.body import FigureBuilder, Physique
from dygait.synthetic.carried import Bag
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.motion import Motion
from dygait.synthetic.population import Person
from dygait.synthetic.wardrobe import Outfit, add_outfit, draw_outfit
from dygait.synthetic.world import Wardrobe

_OUTFIT, _CHOICE = 6, 10
"""Seeds of the random generators, as in walker.py."""


@dataclasses.dataclass(frozen=True)
class Dress:
    """An outfit with its number among those of the subject, and the carried things."""

    number: int
    outfit: Outfit
    things: tuple[Bag, ...]

    @property
    def gait_change(self) -> GaitChange:
        """The combined effect on the gait."""
        change = self.outfit.gait_change
        for thing in self.things:
            change = change.and_also(carried.gait_change(thing))
        return change

    def add(self, builder: FigureBuilder, body: Physique, motion: Motion, phase: np.ndarray) -> None:
        """Add outfit and carried things to a figure; phase (S,) of the gait in cycles."""
        add_outfit(builder, self.outfit, body, motion, phase)
        for thing in self.things:
            carried.add_carried(builder, thing, body, motion, phase)


def draw_dress(knobs: Wardrobe, person: Person, seed: int, subject: int, kind: str, number: int) -> Dress:
    """Draw the outfit and carried things of a subject in a walk; `number` is unique for the type `kind`."""
    rng = np.random.default_rng([seed, _CHOICE, subject, number])
    other, carries, usual_bag, has_hands = rng.random(4).tolist()
    condition = kind.partition("-")[0]
    outfit = 1 + int(other * (knobs.outfits - 1)) if condition == "cl" and knobs.outfits > 1 else 0
    things: list[Bag] = []
    if condition == "bg" or (condition == "cl" and carries < knobs.carried):
        # In half of the walks it is the subject's usual bag.
        usual_rng = np.random.default_rng([seed, _CHOICE, subject])
        things.append(carried.draw_carried(usual_rng if usual_bag < 0.5 else rng, knobs.umbrellas))
    if has_hands < knobs.hands:
        hands = carried.draw_hands(rng, things[0] if things else None)
        things += [hands] if hands is not None else []
    return Dress(outfit, _outfit(knobs, person, seed, subject, outfit), tuple(things))


@functools.lru_cache(1024)
def _outfit(knobs: Wardrobe, person: Person, seed: int, subject: int, number: int) -> Outfit:
    return draw_outfit(np.random.default_rng([seed, _OUTFIT, subject, number]), knobs, person, usual=number == 0)
