"""The knob `people.differ`: which traits all subjects share."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.synthetic.settings import PRESETS, Settings, parse_address
from dygait.synthetic.walker import draw_subject, draw_walk, render_frames, walk

QUICK = PRESETS["quick"]
BODY, GAIT = ("physique", "coat"), ("style", "signature")


def settings_with(differ: str) -> Settings:
    return parse_address(f"syngait://quick?people.differ={differ}")


def traits(settings: Settings, subject: int) -> dict[str, Any]:
    values = vars(draw_subject(settings, subject))
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


@pytest.mark.parametrize(("differ", "individual", "shared"), [("gait", GAIT, BODY), ("body", BODY, GAIT)])
def test_subjects_differ_in_one_group(differ: str, individual: tuple[str, ...], shared: tuple[str, ...]) -> None:
    settings = settings_with(differ)
    first, second, default = traits(settings, 1), traits(settings, 2), traits(QUICK, 1)
    assert all(first[name] == second[name] for name in (*shared, "bag"))
    assert all(first[name] == default[name] != second[name] for name in individual)


def test_both_is_the_default() -> None:
    assert settings_with("both") == QUICK
    assert traits(settings_with("both"), 1)["bag"] == traits(QUICK, 1)["bag"]


@pytest.mark.parametrize("kind", ["bg-01", "cl-01"])
def test_with_a_shared_gait_coats_and_bags_change_it_equally(kind: str) -> None:
    """Except for walks with another bag than usual."""
    changes = [draw_walk(settings_with("body"), subject, kind).gait.gait_change for subject in range(1, 9)]
    most = max(sum(dataclasses.asdict(a) == dataclasses.asdict(b) for b in changes) for a in changes)
    assert most == 8 if kind.startswith("cl") else most >= 4


def test_rendering_is_a_pure_function() -> None:
    settings = settings_with("gait")

    def render() -> np.ndarray:
        return render_frames(settings, 3, "nm-02", "054", walk(settings, 3, "nm-02"))

    first = render()
    draw_subject.cache_clear()
    walk.cache_clear()
    render_frames(settings, 4, "nm-02", "054", walk(settings, 4, "nm-02"))
    assert np.array_equal(render(), first)


def test_the_address_keeps_the_knob() -> None:
    settings = settings_with("body")
    assert parse_address(settings.address) == settings
    with pytest.raises(UserError, match="differ"):
        settings_with("clothes")


def test_gait_changes_by_outfits_and_impairments_belong_to_the_gait() -> None:
    def changes(differ: str, kind: str, **knobs: float) -> list[Any]:
        wardrobe = {"outfits": 2, "heels": 0.5, "coats": 0.5}
        settings = settings_with(differ).with_knobs({"people": knobs, "wardrobe": wardrobe})
        return [draw_walk(settings, subject, kind).gait.gait_change for subject in range(1, 7)]

    assert len(set(changes("body", "bg-01"))) == 1
    assert len(set(changes("body", "cl-01", impaired=1.0))) == 1
    assert len(set(changes("gait", "nm-01"))) == 1, "all wear the same outfit"
    assert len(set(changes("gait", "nm-01", impaired=1.0))) > 3
