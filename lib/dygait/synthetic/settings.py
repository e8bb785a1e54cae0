"""The settings of a SynGait dataset, and their address, such as `syngait://quick?seed=1&train_ids=300`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dygait.config_problems import suggest
from dygait.errors import UserError
from dygait.synthetic.cameras import VIEWS
from dygait.synthetic.presets import CASIA, WILD
from dygait.synthetic.world import Wardrobe, World, parse_knob

VERSION = 1
"""Increment it whenever the pictures of given settings change."""

FORMATS = ("pickle", "png")
MAX_FRAMES = 110
MAX_IDS = 100_000
SCHEME = "syngait"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that determine the pictures; an invalid value raises UserError."""

    train_ids: int  # the number of training ids, the first ones
    test_ids: int  # the number of test ids, the following ones
    frames: tuple[int, int]  # the fewest and the most frames of a sequence
    seed: int = 0  # seed of all random generators
    format: str = "pickle"  # normalised frames, or png: raw pictures
    heatmaps: bool = False  # also heat maps of the key points
    world: World = CASIA  # people, clothes, cameras, frame rate, segmentation

    def __post_init__(self) -> None:
        if min(self.train_ids, self.test_ids) < 0 or not 0 < self.train_ids + self.test_ids <= MAX_IDS:
            raise UserError(
                f"train_ids={self.train_ids}, test_ids={self.test_ids}: give two numbers with 1 to {MAX_IDS} ids in all"
            )
        if not 1 <= self.frames[0] <= self.frames[1] <= MAX_FRAMES:
            raise UserError(f"frames={self.frames}: give the fewest and the most, between 1 and {MAX_FRAMES}")
        if self.seed < 0:
            raise UserError(f"seed={self.seed}: give 0 or a positive whole number")
        if self.format not in FORMATS:
            raise UserError(f"format={self.format!r}: use one of {', '.join(FORMATS)}")
        if self.heatmaps and self.format == "png":
            raise UserError("heat maps are of normalised frames: leave them out, or use the format pickle")
        if not self.types:
            raise UserError("people.walks: give at least one walk in all")
        people, wardrobe = self.world.people, self.world.wardrobe
        if people.children + people.old > 1:
            raise UserError("people: children and old are shares of all subjects: together at most 1")
        if wardrobe != Wardrobe() and not wardrobe.outfits:
            raise UserError("wardrobe: its knobs are those of outfits of one's own: give outfits of at least 1 too")

    @property
    def subjects(self) -> list[int]:
        """The numbers of all ids, training first."""
        return list(range(1, self.train_ids + self.test_ids + 1))

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the walks of each id."""
        return self.world.people.types

    @property
    def views(self) -> tuple[str, ...]:
        """The names of the views of each walk."""
        return VIEWS

    @property
    def address(self) -> str:
        """The address of the dataset: all keys, and the knobs that differ from the most similar preset's."""
        low, high = self.frames
        keys = {"seed": self.seed, "train_ids": self.train_ids, "test_ids": self.test_ids, "frames": f"{low}-{high}"}
        keys |= {"heatmaps": 1} if self.heatmaps else {}
        worlds = {"": CASIA, "wild": WILD}
        preset = min(worlds, key=lambda name: len(self.world.differences(worlds[name])))
        knobs = self.world.differences(worlds[preset])
        return f"{SCHEME}://{preset}?{'&'.join(f'{key}={value}' for key, value in (keys | knobs).items())}"

    def with_knobs(self, changes: Mapping[str, Any]) -> Settings:
        """Return settings with some knobs replaced: section -> knob -> value; UserError if they are invalid."""
        return dataclasses.replace(self, world=self.world.replaced(changes))

    def partition(self) -> dict[str, list[str]]:
        """Return the ids, of at least three digits, under TRAIN_SET and TEST_SET."""
        ids = [f"{subject:03d}" for subject in self.subjects]
        return {"TRAIN_SET": ids[: self.train_ids], "TEST_SET": ids[self.train_ids :]}


PRESETS = {
    "quick": Settings(train_ids=40, test_ids=20, frames=(36, 40)),
    "full": Settings(train_ids=74, test_ids=50, frames=(48, 96)),
    "wild": Settings(train_ids=2000, test_ids=50, frames=(36, 40), world=WILD),
}


def is_address(root: object) -> bool:
    """Return whether the root of a dataset is an address of SynGait rather than a path."""
    return str(root).startswith(f"{SCHEME}:/")


def parse_address(address: str) -> Settings:
    """Parse an address.

    Args:
        address: `syngait://PRESET?KEY=VALUE&...`, with a preset (`quick` if left out), any of `seed`, `train_ids`,
            `test_ids`, `frames` (`36-40`, or one number) and `heatmaps` (1: with heat maps), and knobs of
            :class:`~dygait.synthetic.world.World`, such as `people.variety=1.2` or `people.walks=4,2,2`.

    Raises:
        UserError: an unknown preset or key, or an invalid value.
    """
    address = re.sub(rf"^{SCHEME}:/+", f"{SCHEME}://", address)  # a Path has a single slash
    parts = urlsplit(address)
    preset = parts.netloc or "quick"
    if parts.path or parts.fragment:
        raise UserError(f"{address}: give {SCHEME}://PRESET?KEY=VALUE&..., such as {SCHEME}://quick?seed=1")
    if preset not in PRESETS:
        raise UserError(
            f"{address}: there is no preset {preset!r}{suggest(preset, PRESETS)} (presets: {', '.join(PRESETS)})"
        )
    changes: dict[str, Any] = {}
    knobs: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in seen:
            raise UserError(f"{address}: {key} is given twice")
        seen.add(key)
        section, dot, knob = key.partition(".")
        if dot:
            knobs.setdefault(section, {})[knob] = parse_knob(value)
        else:
            changes[key] = _parse_key(address, key, value)
    try:
        return dataclasses.replace(PRESETS[preset], **changes).with_knobs(knobs)
    except UserError as error:
        raise UserError(f"{address}: {error}") from None


def _parse_key(address: str, key: str, value: str) -> int | tuple[int, int]:
    if key not in _KEYS:
        raise UserError(
            f"{address}: unknown key {key!r}{suggest(key, _KEYS)} (keys: {', '.join(_KEYS)}, and the knobs of "
            f"data_cfg.syngait, such as people.variety)"
        )
    numbers = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?" if key == "frames" else r"(\d{1,9})", value)
    if numbers is None:
        expected = "a number or MIN-MAX, such as 36-40" if key == "frames" else "a whole number"
        raise UserError(f"{address}: {key}={value!r}: give {expected}")
    first = int(numbers[1])
    if key == "heatmaps":
        return first > 0
    return (first, int(numbers[2] or first)) if key == "frames" else first


_KEYS = ("seed", "train_ids", "test_ids", "frames", "heatmaps")
