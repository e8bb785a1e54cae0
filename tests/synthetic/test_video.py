"""Videos of synthetic walkers, and their ground truth."""

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


def test_a_scene_is_determined_by_its_seed() -> None:
    scene = Scene((Appearance(1, "nm-01", 0.2),), 1.6, seed=3, **SMALL)
    first, second = list(render(scene)), list(render(scene))
    assert len(first) == scene.frames == 40
    for (picture, labels), (other_picture, other_labels) in zip(first, second, strict=True):
        np.testing.assert_array_equal(picture, other_picture)
        np.testing.assert_array_equal(labels, other_labels)
    other_seed = next(render(Scene(scene.appearances, 1.6, seed=4, **SMALL)))[0]
    assert (other_seed != first[0][0]).mean() > 0.5


@pytest.mark.parametrize("rightward", [True, False])
@pytest.mark.parametrize("plan", ["pass", "stop", "return"])
def test_plans_of_a_walker(plan: str, rightward: bool) -> None:
    """From the ground truth: the walker enters on one side, stops or turns in the middle, and leaves."""
    appearance = Appearance(2, "bg-01", 0.0, plan, rightward, pause=2.0)
    positions = []
    for _, labels in render(Scene((appearance,), 11.0, **SMALL)):
        left, _, width, _ = cv2.boundingRect((labels == 1).view(np.uint8))
        positions.append(left + width / 2 if width else np.nan)
    steps = np.diff(positions) * (1 if rightward else -1)
    visible = np.isfinite(positions)
    start, end = positions[int(np.argmax(visible))], positions[len(visible) - 1 - int(np.argmax(visible[::-1]))]
    assert (start < 40) == rightward
    assert (end < 40) == (rightward == (plan == "return"))
    still = int((np.abs(steps[np.isfinite(steps)]) < 0.1).sum())
    assert (still > 35) == (plan == "stop")
    assert (np.nanmean(steps < -0.3) > 0.2) == (plan == "return")


def test_nearer_walkers_hide_farther_ones() -> None:
    pair = tuple(Appearance(n, "nm-01", 0.0, depth=depth) for n, depth in ((1, 0.5), (2, -0.8)))
    both = [labels for _, labels in render(Scene(pair, 5.0, **SMALL))]
    nearer_only = [labels for _, labels in render(Scene(pair[1:], 5.0, **SMALL))]
    for labels_of_both, labels_of_nearer in zip(both, nearer_only, strict=True):
        np.testing.assert_array_equal(labels_of_both == 2, labels_of_nearer == 1)
    assert max(np.count_nonzero(labels == 1) for labels in both) > 100


def test_planned_scenes_use_all_subjects_types_and_plans() -> None:
    scene = plan_scene([4, 5, 6], ["nm-01", "cl-01"], 60.0, seed=1, most=3, **SMALL)
    assert {appearance.subject for appearance in scene.appearances} == {4, 5, 6}
    assert {appearance.kind for appearance in scene.appearances} == {"nm-01", "cl-01"}
    assert {appearance.plan for appearance in scene.appearances} == {"pass", "stop", "return"}
    assert all(appearance.start < 60 for appearance in scene.appearances)


def test_outfits_of_the_wild_preset() -> None:
    """Walkers with any outfit can be drawn."""
    people = tuple(Appearance(n, "nm-01", 0.0, depth=0.3 * n) for n in range(1, 9))
    labels = [labels for _, labels in render(Scene(people, 3.0, world=WILD, **SMALL))]
    assert len(np.unique(labels[-1])) > 5


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "walkers.mp4"
    assert cli.main(["synth", "--video", str(path), "--seconds", "12", "--seed", "3"]) == 0
    truth = json.loads((tmp_path / "walkers.mp4.json").read_text())
    assert truth["frames"] == 300
    assert {person["subject"] for person in truth["people"]} <= set(range(41, 51))
    assert cli.main(["synth", "--video", str(path), "--seconds", "1"]) == 2


def test_a_video_file_and_its_ground_truth(tmp_path: Path) -> None:
    path = tmp_path / "new" / "walk.mp4"
    scene = Scene((Appearance(1, "nm-01", 0.0),), 2.0, **SMALL)
    truth = write_video(path, scene)
    assert json.loads((tmp_path / "new" / "walk.mp4.json").read_text()) == json.loads(json.dumps(truth))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == truth["frames"] == 50
    expected = [picture for picture, _ in render(scene)]
    for picture in expected:
        done, decoded = capture.read()
        assert done
        assert np.abs(decoded.astype(int) - picture).mean() < 6
    (person,) = truth["people"]
    assert (person["subject"], person["kind"]) == (1, "nm-01")
    assert person["boxes"][-1][0] == 49
    assert {path.name for path in path.parent.iterdir()} == {"walk.mp4", "walk.mp4.json"}
    with pytest.raises(UserError, match=r"walk\.txt"):
        write_video(tmp_path / "walk.txt", scene)
