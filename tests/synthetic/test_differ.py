"""`people.differ`: what all subjects share, and what they do not."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.synthetic.settings import PRESETS, Settings, parse_address
from dygait.synthetic.walker import draw_subject, draw_walk, render_frames, walk

QUICK = PRESETS["quick"]
BODY, GAIT = ("physique", "coat"), ("style", "signature")


def split(differ: str) -> Settings:
    return parse_address(f"syngait://quick?people.differ={differ}")


def traits(settings: Settings, subject: int) -> dict[str, Any]:
    found = {field.name: getattr(draw_subject(settings, subject), field.name) for field in _fields(settings)}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _fields(settings: Settings) -> Any:
    return dataclasses.fields(draw_subject(settings, 1))


@pytest.mark.parametrize(("differ", "own", "shared"), [("gait", GAIT, BODY), ("body", BODY, GAIT)])
def test_subjects_share_all_but_one(differ: str, own: tuple[str, ...], shared: tuple[str, ...]) -> None:
    settings = split(differ)
    one, other, usual = traits(settings, 1), traits(settings, 2), traits(QUICK, 1)
    assert all(one[name] == other[name] for name in (*shared, "bag"))
    assert all(one[name] == usual[name] != other[name] for name in own)


def test_both_is_the_default() -> None:
    assert split("both") == QUICK
    assert traits(split("both"), 1)["bag"] == traits(QUICK, 1)["bag"]


@pytest.mark.parametrize("kind", ["bg-01", "cl-01"])
def test_with_one_gait_coats_and_bags_change_it_equally(kind: str) -> None:
    """Except where a walk has another bag than usual."""
    changes = [draw_walk(split("body"), subject, kind).gait.gait_change for subject in range(1, 9)]
    most = max(sum(dataclasses.asdict(a) == dataclasses.asdict(b) for b in changes) for a in changes)
    assert most == 8 if kind.startswith("cl") else most >= 4


def test_a_frame_is_a_pure_function() -> None:
    settings = split("gait")

    def rendered() -> np.ndarray:
        return render_frames(settings, 3, "nm-02", "054", walk(settings, 3, "nm-02"))

    first = rendered()
    draw_subject.cache_clear()
    walk.cache_clear()
    render_frames(settings, 4, "nm-02", "054", walk(settings, 4, "nm-02"))
    assert np.array_equal(rendered(), first)


def test_it_survives_the_address() -> None:
    settings = split("body")
    assert parse_address(settings.address) == settings
    with pytest.raises(UserError, match="differ"):
        split("clothes")


def test_outfits_and_impairments_belong_to_the_gait_where_they_change_it() -> None:
    def changes(differ: str, kind: str, **knobs: float) -> list[Any]:
        settings = split(differ).with_knobs({"people": knobs, "wardrobe": {"outfits": 2, "heels": 0.5, "coats": 0.5}})
        return [draw_walk(settings, subject, kind).gait.gait_change for subject in range(1, 7)]

    assert len(set(changes("body", "bg-01"))) == 1
    assert len(set(changes("body", "cl-01", impaired=1.0))) == 1
    assert len(set(changes("gait", "nm-01"))) == 1, "all wear the same"
    assert len(set(changes("gait", "nm-01", impaired=1.0))) > 3
