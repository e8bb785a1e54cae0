"""Videos of synthetic walkers: the truth is what is drawn."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dygait import cli
from dygait.errors import UserError
from dygait.synthetic.presets import WILD
from dygait.synthetic.video import Appearance, Scene, plan_scene, render, write_video

SMALL = {"width": 160, "height": 120}


def test_everything_follows_from_the_seed() -> None:
    scene = Scene((Appearance(1, "nm-01", 0.2),), 1.6, seed=3, **SMALL)
    first, second = list(render(scene)), list(render(scene))
    assert len(first) == scene.frames == 40
    for (picture, labels), (again, same) in zip(first, second, strict=True):
        np.testing.assert_array_equal(picture, again)
        np.testing.assert_array_equal(labels, same)
    other = next(render(Scene(scene.appearances, 1.6, seed=4, **SMALL)))[0]
    assert (other != first[0][0]).mean() > 0.5


@pytest.mark.parametrize("rightward", [True, False])
@pytest.mark.parametrize("plan", ["pass", "stop", "return"])
def test_what_a_walker_does(plan: str, rightward: bool) -> None:
    """Where the walker is, from the truth: enters on one side, stops or turns in the middle, leaves."""
    appearance = Appearance(2, "bg-01", 0.0, plan, rightward, pause=2.0)
    places = []
    for _, labels in render(Scene((appearance,), 11.0, **SMALL)):
        left, _, width, _ = cv2.boundingRect((labels == 1).view(np.uint8))
        places.append(left + width / 2 if width else np.nan)
    steps = np.diff(places) * (1 if rightward else -1)
    seen = np.isfinite(places)
    start, end = places[int(np.argmax(seen))], places[len(seen) - 1 - int(np.argmax(seen[::-1]))]
    assert (start < 40) == rightward
    assert (end < 40) == (rightward == (plan == "return"))
    still = int((np.abs(steps[np.isfinite(steps)]) < 0.1).sum())
    assert (still > 35) == (plan == "stop")
    assert (np.nanmean(steps < -0.3) > 0.2) == (plan == "return")


def test_who_is_nearer_hides_the_other() -> None:
    pair = tuple(Appearance(n, "nm-01", 0.0, depth=depth) for n, depth in ((1, 0.5), (2, -0.8)))
    both = [labels for _, labels in render(Scene(pair, 5.0, **SMALL))]
    alone = [labels for _, labels in render(Scene(pair[1:], 5.0, **SMALL))]
    for together, nearer in zip(both, alone, strict=True):
        np.testing.assert_array_equal(together == 2, nearer == 1)
    assert max(np.count_nonzero(labels == 1) for labels in both) > 100


def test_planned_scenes_have_everybody() -> None:
    scene = plan_scene([4, 5, 6], ["nm-01", "cl-01"], 60.0, seed=1, most=3, **SMALL)
    assert {one.subject for one in scene.appearances} == {4, 5, 6}
    assert {one.kind for one in scene.appearances} == {"nm-01", "cl-01"}
    assert {one.plan for one in scene.appearances} == {"pass", "stop", "return"}
    assert all(one.start < 60 for one in scene.appearances)


def test_subjects_of_another_world() -> None:
    """Outfits of all kinds can be drawn."""
    people = tuple(Appearance(n, "nm-01", 0.0, depth=0.3 * n) for n in range(1, 9))
    labels = [labels for _, labels in render(Scene(people, 3.0, world=WILD, **SMALL))]
    assert len(np.unique(labels[-1])) > 5


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "ten.mp4"
    assert cli.main(["synth", "--video", str(path), "--seconds", "12", "--seed", "3"]) == 0
    truth = json.loads((tmp_path / "ten.mp4.json").read_text())
    assert truth["frames"] == 300
    assert {person["subject"] for person in truth["people"]} <= set(range(41, 51))
    assert cli.main(["synth", "--video", str(path), "--seconds", "1"]) == 2


def test_a_video_file_and_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "new" / "walk.mp4"
    scene = Scene((Appearance(1, "nm-01", 0.0),), 2.0, **SMALL)
    truth = write_video(path, scene)
    assert json.loads((tmp_path / "new" / "walk.mp4.json").read_text()) == json.loads(json.dumps(truth))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == truth["frames"] == 50
    wanted = [picture for picture, _ in render(scene)]
    for picture in wanted:
        done, read = capture.read()
        assert done
        assert np.abs(read.astype(int) - picture).mean() < 6
    (person,) = truth["people"]
    assert (person["subject"], person["kind"]) == (1, "nm-01")
    assert person["boxes"][-1][0] == 49
    assert {path.name for path in path.parent.iterdir()} == {"walk.mp4", "walk.mp4.json"}
    with pytest.raises(UserError, match=r"walk\.txt"):
        write_video(tmp_path / "walk.txt", scene)
