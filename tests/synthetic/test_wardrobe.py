"""Outfits and carried things: the parts of the body that they cover, and the effect of each knob."""

import dataclasses

import cv2
import numpy as np
import pytest

from dygait.synthetic import carried
from dygait.synthetic.body import Figure, Physique, build_body
from dygait.synthetic.cameras import camera
from dygait.synthetic.carried import Bag, BagSize
from dygait.synthetic.coats import Coat
from dygait.synthetic.dressing import Dress, draw_dress
from dygait.synthetic.gait import Gait
from dygait.synthetic.gait_change import GaitChange
from dygait.synthetic.gait_style import Style
from dygait.synthetic.population import Person, draw_person
from dygait.synthetic.renderer import fill, outlines, project
from dygait.synthetic.wardrobe import HATS, Outfit, Skirt, add_outfit, draw_outfit
from dygait.synthetic.world import People, Wardrobe

PHASE = np.linspace(0, 1, 13)
PLAIN = Outfit({}, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, 0.0, 0.0, "", 0.0, GaitChange())
COAT = Coat(hood=-1.0, hat=-1.0)
HEAD, SHOULDERS, WAIST, KNEES, SHINS = 0.06, 0.2, 0.42, 0.72, 0.82
"""Relative heights in the picture of the body, from the top."""


def figure_in(outfit: Outfit, thing: Bag | None = None) -> Figure:
    """Return the mean subject in an outfit, with a carried thing if given."""
    body = outfit.fit(Physique())
    change = GaitChange() if thing is None else carried.gait_change(thing)
    motion = Gait(body, Style(), np.zeros((2, 3, 3)), change).pose(PHASE)
    motion.joints.update({name: position - [0.6, 0, 0] for name, position in motion.joints.items()})
    builder = build_body(body, motion)
    add_outfit(builder, outfit, body, motion, PHASE)
    if thing is not None:
        carried.add_carried(builder, thing, body, motion, PHASE)
    return builder.figure()


def pictures_of(figure: Figure, view: str) -> np.ndarray:
    pictures = np.zeros((len(figure.centres), 240, 320), np.uint8)
    for picture, corners in zip(pictures, outlines(figure, *project(camera(view), figure)), strict=True):
        fill(picture, corners)
    return pictures > 0


def width_at(figure: Figure, height: float, view: str = "090") -> float:
    """Return the mean number of pixels of the body in a row, at a relative height of the plain figure."""
    rows = np.flatnonzero(pictures_of(figure_in(PLAIN), view).any((0, 2)))
    row = round(rows[0] + height * (rows[-1] - rows[0]))
    return float(pictures_of(figure, view)[:, row - 1 : row + 2].sum((1, 2)).mean() / 3)


def plain_figure_with(**changes: object) -> Figure:
    return figure_in(dataclasses.replace(PLAIN, **changes))


@pytest.mark.parametrize("view", ["000", "090"])
def test_a_skirt_hides_the_legs_down_to_its_hem(view: str) -> None:
    plain = figure_in(PLAIN)
    for reach, covered, free in ((0.3, 0.58, KNEES), (0.55, 0.68, SHINS), (0.9, SHINS, None)):
        skirt = plain_figure_with(skirt=Skirt(reach, 0.04))
        assert width_at(skirt, covered, view) > 1.15 * width_at(plain, covered, view)
        if free is not None:
            assert width_at(skirt, free, view) < 1.05 * width_at(plain, free, view)
    # There is no gap between the legs.
    rows = pictures_of(plain_figure_with(skirt=Skirt(0.9, 0.04)), "090")
    for picture in rows:
        top, bottom = np.flatnonzero(picture.any(1))[[0, -1]]
        row = picture[round(top + KNEES * (bottom - top))]
        assert np.count_nonzero(np.diff(row.astype(int)) == 1) == 1


def test_coats_cover_more_the_longer_they_are() -> None:
    plain, short, long = figure_in(PLAIN), plain_figure_with(coat=COAT), plain_figure_with(coat=COAT, coat_reach=0.75)
    assert width_at(short, WAIST, "000") > 1.1 * width_at(plain, WAIST, "000")
    assert width_at(short, KNEES) == pytest.approx(width_at(plain, KNEES), rel=0.05)
    assert width_at(long, KNEES) > 1.2 * width_at(short, KNEES)
    loose = plain_figure_with(coat=COAT, coat_reach=0.6, open_by=0.08)
    areas = pictures_of(loose, "090").sum((1, 2)) - pictures_of(plain, "090").sum((1, 2))
    assert areas.min() > 0
    assert np.ptp(areas) > 100, "an open coat flaps"


def test_widths_of_trousers() -> None:
    plain = figure_in(PLAIN)
    bare = plain_figure_with(fitted={"trouser_hem": -0.0095}, loose=0.012, shorts=0.4)
    wide = plain_figure_with(fitted={"trouser_hem": 0.025}, loose=0.012)
    assert width_at(bare, SHINS, "000") < 0.92 * width_at(plain, SHINS, "000")
    assert width_at(bare, 0.6, "000") > 1.03 * width_at(plain, 0.6, "000")
    assert width_at(wide, SHINS, "000") > 1.2 * width_at(plain, SHINS, "000")
    assert width_at(wide, SHINS) > width_at(plain, SHINS)


@pytest.mark.parametrize("hat", HATS)
def test_hats_are_on_the_head(hat: str) -> None:
    plain = pictures_of(figure_in(PLAIN), "090")
    added = pictures_of(plain_figure_with(hat=hat), "090").sum(0) - plain.sum(0).astype(int)
    rows = np.flatnonzero(plain.any((0, 2)))
    neck = round(rows[0] + 0.2 * (rows[-1] - rows[0]))
    assert added[:neck].sum() > 50
    assert np.abs(added[neck:]).sum() < 0.1 * added[:neck].sum()


def test_soles_and_tied_hair() -> None:
    raised = plain_figure_with(sole=0.04).centres[:, :, 2].max() - figure_in(PLAIN).centres[:, :, 2].max()
    assert 0.04 < raised < 0.1
    plain = pictures_of(figure_in(PLAIN), "090")
    tied = pictures_of(plain_figure_with(tail=0.14), "090") & ~plain
    assert tied.sum() > 30
    head = plain[:, : np.flatnonzero(plain.any((0, 2)))[0] + 12]
    middles = [np.mean([np.flatnonzero(picture.any(0)).mean() for picture in pictures]) for pictures in (tied, head)]
    assert middles[0] > middles[1] + 3, "behind a subject who moves to the left"


@pytest.mark.parametrize(
    ("kind", "low", "high", "behind"),
    [
        ("back", 0.1, 0.55, True),
        ("crossbody", 0.2, 0.65, None),
        ("box", 0.15, 0.6, False),
        ("trolley", 0.55, 1.0, True),
        ("umbrella", -0.2, 0.3, None),
    ],
)
def test_positions_of_carried_things(kind: str, low: float, high: float, behind: bool | None) -> None:
    thing = Bag(kind, 0, False, BagSize())
    loaded = figure_in(PLAIN, thing)
    plain, pictures = (pictures_of(f, "090") for f in (figure_in(PLAIN), loaded))
    rows = np.flatnonzero(plain.any((0, 2)))
    bag = np.array([part in ("bag", "canopy") for part in loaded.parts])
    things = np.zeros_like(pictures, np.uint8)
    for picture, corners in zip(things, outlines(loaded, *project(camera("090"), loaded)), strict=True):
        fill(picture, corners[bag])
    middle = (np.average(np.arange(240), weights=things.sum((0, 2))) - rows[0]) / (rows[-1] - rows[0])
    assert low < middle < high
    if behind is not None:
        bags = [np.average(np.arange(320), weights=picture.sum(0)) for picture in things]
        bodies = [np.average(np.arange(320), weights=picture.sum(0)) for picture in plain]
        assert (np.mean(bags) > np.mean(bodies)) == behind


@pytest.mark.parametrize("kind", [*carried.KINDS, *carried.HANDS, "umbrella"])
def test_an_occupied_hand_does_not_swing_and_sides_are_mirrored(kind: str) -> None:
    def reach(side: int) -> list[float]:
        change = carried.gait_change(Bag(kind, side, False, BagSize()))
        motion = Gait(Physique(), Style(), np.zeros((2, 3, 3)), change).pose(PHASE)
        hands = [motion.joints[f"hand_{arm}"] - motion.joints[f"shoulder_{arm}"] for arm in (0, 1)]
        return [float(np.ptp(hand[:, 0])) for hand in hands]

    left, right = reach(0), reach(1)
    assert left == pytest.approx(right[::-1], abs=0.02)
    if kind in ("trolley", "umbrella", "phone at the ear", "phone in front", "pocket"):
        assert left[0] < 0.4 * left[1]


def test_a_phone_at_the_ear_is_near_the_head() -> None:
    change = carried.gait_change(Bag("phone at the ear", 1, False, BagSize()))
    joints = Gait(Physique(), Style(), np.zeros((2, 3, 3)), change).pose(PHASE).joints
    assert np.linalg.norm(joints["hand_1"] - joints["head"], axis=1).max() < 0.32


def outfits(count: int = 200, woman: bool = True, **knobs: float) -> list[Outfit]:
    person = Person(woman, 30.0, 0.0, 0.2, 0.5, GaitChange())
    wardrobe = Wardrobe(outfits=1, **knobs)
    return [draw_outfit(np.random.default_rng(number), wardrobe, person) for number in range(count)]


@pytest.mark.parametrize(
    ("knob", "has"),
    [
        ("coats", lambda outfit: outfit.coat is not None and outfit.coat.hat != 0 and outfit.coat.thickness > 0.0145),
        ("skirts", lambda outfit: outfit.skirt is not None),
        ("shorts", lambda outfit: bool(outfit.shorts)),
        ("bare_arms", lambda outfit: bool(outfit.sleeve)),
        ("hats", lambda outfit: bool(outfit.hat)),
        ("heels", lambda outfit: outfit.sole > 0.0155),
        ("boots", lambda outfit: bool(outfit.boots)),
    ],
)
def test_a_probability_is_the_share_of_outfits(knob: str, has) -> None:  # type: ignore[no-untyped-def]
    assert not any(map(has, outfits()))
    half, full = (np.mean([has(outfit) for outfit in outfits(**{knob: share})]) for share in (0.5, 1.0))
    assert full > (0.6 if knob == "coats" else 0.99)
    assert 0.35 * full < half < 0.65 * full
    if knob in ("skirts", "heels"):
        assert np.mean([has(outfit) for outfit in outfits(woman=False, **{knob: 1.0})]) < 0.2


def test_shares_of_coats() -> None:
    coats = outfits(coats=1.0, long_coats=0.5, open_coats=0.5)
    assert 0.4 < np.mean([outfit.coat_reach > 0 for outfit in coats]) < 0.6
    assert 0.4 < np.mean([outfit.open_by > 0 for outfit in coats]) < 0.6
    assert not any(outfit.coat_reach or outfit.open_by for outfit in outfits(coats=1.0))


def dresses(kind: str, **knobs: float) -> list[Dress]:
    person = draw_person(np.random.default_rng(1), People())
    wardrobe = Wardrobe(**knobs)  # type: ignore[arg-type]
    return [draw_dress(wardrobe, person, 0, 5, kind, number) for number in range(60)]


def test_a_subject_has_several_outfits_and_wears_the_first_in_nm_and_bg() -> None:
    for kind in ("nm-01", "bg-01"):
        assert {dress.number for dress in dresses(kind, outfits=4)} == {0}
    assert {dress.number for dress in dresses("cl-01", outfits=4)} == {1, 2, 3}
    assert {dress.number for dress in dresses("cl-01", outfits=1)} == {0}
    worn = dresses("cl-01", outfits=4)
    assert len({id(dress.outfit) for dress in worn}) == 3


def test_shares_of_carried_things() -> None:
    assert not any(dress.things for dress in dresses("nm-01", outfits=2, carried=1.0))
    assert all(dress.things for dress in dresses("bg-01", outfits=2))
    assert 0.3 < np.mean([bool(dress.things) for dress in dresses("cl-01", outfits=2, carried=0.5)]) < 0.7
    assert 0.3 < np.mean([bool(dress.things) for dress in dresses("nm-01", outfits=2, hands=0.5)]) < 0.7
    bags = [dress.things[0] for dress in dresses("bg-01", outfits=2)]
    assert {bag.kind for bag in bags} >= {"back", "shoulder", "hand"}
    assert max(bags.count(bag) for bag in bags) > 15, "the usual bag of the subject"
    umbrellas = [dress.things[0].kind for dress in dresses("bg-01", outfits=2, umbrellas=1.0)]
    assert set(umbrellas) == {"umbrella"}
    for dress in dresses("bg-01", outfits=2, hands=1.0):
        sides = [thing.side for thing in dress.things if thing.kind in ("hand", "pocket", "phone in front")]
        assert len(set(sides)) == len(sides), "a hand carries one thing"


def test_a_dressed_subject_fits_the_picture() -> None:
    wardrobe = Wardrobe(
        outfits=1, coats=0.5, skirts=0.5, hats=0.5, heels=0.5, boots=0.5, long_coats=0.5, open_coats=0.5
    )
    for number in range(30):
        rng = np.random.default_rng(number)
        outfit = draw_outfit(rng, wardrobe, draw_person(rng, People()))
        picture = pictures_of(figure_in(outfit), "054")[5].astype(np.uint8)
        assert cv2.connectedComponents(picture)[0] == 2, "one piece"
        assert 1200 < picture.sum() < 8000
