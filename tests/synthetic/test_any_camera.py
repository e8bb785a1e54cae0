"""Cameras, frame rates and segmentation: pure functions of the settings, and the effect of each knob."""

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from dygait.frames.normalisation import normalise_silhouette
from dygait.synthetic.cameras import VIEWS, bend, draw_camera
from dygait.synthetic.presets import WILD
from dygait.synthetic.renderer import project
from dygait.synthetic.segmentation import draw_segmenter
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import draw_walk, render_frames, render_sequence, walk
from dygait.synthetic.world import Cameras, Segmentation, World

CLEAN = {"strength": (0.0, 0.0)}
"""Segmentation with as few faults as possible."""


def settings_of(frames: int = 20, **sections: dict[str, Any]) -> Settings:
    return Settings(train_ids=40, test_ids=0, frames=(frames, frames), seed=3, world=World().replaced(sections))


def frames_of(subject: int = 1, kind: str = "nm-01", view: str = "090", **sections: dict[str, Any]) -> np.ndarray:
    settings = settings_of(**sections)
    return render_frames(settings, subject, kind, view, walk(settings, subject, kind))


def frames_of_all(subjects: int = 8, view: str = "090", kind: str = "nm-01", **sections: dict[str, Any]) -> np.ndarray:
    return np.concatenate([frames_of(subject, kind, view, **sections) for subject in range(1, subjects + 1)])


def roughness(frames: np.ndarray) -> float:
    """Return the mean ratio of the length of an outline to that of the smoothed outline."""

    def length(frame: np.ndarray) -> float:
        contours, _ = cv2.findContours((frame > 127).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        return sum(cv2.arcLength(contour, True) for contour in contours)

    return float(np.mean([length(frame) / length(cv2.GaussianBlur(frame, (0, 0), 2)) for frame in frames]))


def holes(frames: np.ndarray) -> float:
    """Return the mean number of holes."""
    binary = (frames > 127).astype(np.uint8)
    hierarchies = [cv2.findContours(frame, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[1] for frame in binary]
    return float(np.mean([sum(parent >= 0 for *_, parent in hierarchy[0]) for hierarchy in hierarchies]))


@pytest.mark.parametrize("kind", ["nm-01", "bg-02", "cl-01"])
def test_a_sequence_is_a_function_of_settings_id_type_and_view(kind: str) -> None:
    settings = dataclasses.replace(settings_of(), world=WILD)
    figure = walk(settings, 5, kind)
    frames = render_frames(settings, 5, kind, "054", figure)
    assert frames.shape == (len(figure.centres), 64, 64)
    np.testing.assert_array_equal(render_frames(settings, 5, kind, "054", figure, [6, 1]), frames[[6, 1]])
    np.testing.assert_array_equal(render_frames(settings, 5, kind, "054", figure), frames)
    other_settings = dataclasses.replace(settings, seed=4)
    for changed in (
        render_frames(settings, 5, kind, "072", figure),
        render_frames(other_settings, 5, kind, "054", walk(other_settings, 5, kind)),
    ):
        assert changed.shape != frames.shape or (changed != frames).any()


def test_a_wild_world_shows_a_body_in_every_frame() -> None:
    settings = dataclasses.replace(settings_of(), world=WILD)
    for subject in range(1, 9):
        kind, view = settings.types[subject], VIEWS[subject]
        frames = render_frames(settings, subject, kind, view, walk(settings, subject, kind))
        assert ((frames > 127).sum((1, 2)) > 150).all()


def test_default_knobs_given_by_name_change_no_pixel() -> None:
    settings = settings_of(cameras={"pitch": 40.0, "height": None}, segmentation={"subtraction": 1.0, "binary": 0.0})
    assert settings.world.is_plain
    assert not settings_of(segmentation={"binary": 0.1}).world.is_plain
    figure = walk(settings, 1, "nm-01")
    expected = render_frames(settings_of(), 1, "nm-01", "036", figure)
    np.testing.assert_array_equal(render_frames(settings, 1, "nm-01", "036", figure), expected)


def test_networks_give_smoother_outlines_with_fewer_holes() -> None:
    network = frames_of_all(segmentation={"network": 1.0, "subtraction": 0.0})
    subtraction = frames_of_all(segmentation={"strength": (2.0, 2.0)})
    assert roughness(network) + 0.01 < roughness(subtraction)
    assert holes(network) < 0.75 * holes(subtraction)


def test_strength_increases_the_faults() -> None:
    frames = [frames_of_all(segmentation={"strength": (strength, strength), "binary": 1.0}) for strength in (0.0, 3.0)]
    assert roughness(frames[0]) + 0.01 < roughness(frames[1])
    assert holes(frames[0]) + 0.1 < holes(frames[1])


def test_shadows_lie_on_the_ground() -> None:
    without, shaded = (frames_of_all(segmentation={**CLEAN, "shadow": share, "binary": 1.0}) for share in (0.0, 1.0))
    widths = [(frames > 127).sum(2).mean(0) for frames in (without, shaded)]
    added = widths[1] - widths[0]
    assert added[56:].mean() > 1.0
    assert added[56:].mean() > 3 * abs(added[:40].mean())


def test_occluders_hide_a_part_in_some_frames() -> None:
    for subject in range(1, 9):
        clear, hidden = (frames_of(subject, segmentation={**CLEAN, "occlusion": share}) for share in (0.0, 1.0))
        equal = (clear == hidden).all((1, 2))
        assert equal.any(), "in some frames nothing is hidden"
    clear, hidden = (frames_of_all(segmentation={**CLEAN, "occlusion": share}) for share in (0.0, 1.0))
    assert (clear != hidden).any((1, 2)).mean() > 0.1


def test_box_errors_and_edge_specks_misplace_the_body() -> None:
    def extents(**segmentation: Any) -> np.ndarray:
        frames = frames_of_all(segmentation={**CLEAN, "binary": 1.0, **segmentation})
        return np.array([cv2.boundingRect(frame)[3] for frame in frames]), frames

    heights, frames = extents()
    assert (heights >= 63).all()
    shrunk_heights, moved = extents(box_error=0.05)
    assert (shrunk_heights < 63).mean() > 0.3
    centres = [np.abs((f > 127).sum(1) @ np.arange(64) / (f > 127).sum((1, 2)) - 32) for f in (frames, moved)]
    assert centres[1].mean() > centres[0].mean() + 0.5
    areas = [(f > 127).sum((1, 2)) for f in (frames, extents(edge_specks=1.0)[1])]
    assert (areas[1] < 0.97 * areas[0]).mean() > 0.03


def test_binary_frames_are_two_valued_and_others_are_not() -> None:
    assert set(np.unique(frames_of(segmentation={"binary": 1.0}))) == {0, 255}
    assert len(np.unique(frames_of(segmentation={"smoothing": 1.0}))) > 50


def test_motion_blur_changes_the_legs_most() -> None:
    sharp, blurred = (frames_of_all(segmentation={**CLEAN, "motion_blur": share}) for share in (0.0, 1.0))
    changed = np.abs(sharp.astype(int) - blurred).sum((0, 2))
    assert changed[44:].sum() > 1.5 * changed[8:28].sum(), "the legs move most"


def test_few_pixels_give_coarse_outlines() -> None:
    coarse, fine = (frames_of_all(cameras={"pixels": (p, p)}, segmentation={**CLEAN, "binary": 1.0}) for p in (22, 110))
    changes = [np.abs(np.diff(frames.astype(int), axis=2)).sum() for frames in (coarse, fine)]
    assert changes[0] < changes[1]


def test_drawn_cameras_are_in_the_ranges_of_their_knobs() -> None:
    knobs = Cameras(
        height=(0.5, 6.0), distance=(3.0, 12.0), anywhere=0.5, mirrored=0.5, pixels=(20.0, 200.0), pitch=30.0
    )
    rng = np.random.default_rng(0)
    cameras = [draw_camera(knobs, view, rng) for view in VIEWS for _ in range(40)]
    height, distance = np.array([(c.position[2], np.hypot(*c.position[:2])) for c in cameras]).T
    assert 0.5 <= height.min() < 1
    assert 3 < height.max() <= 6
    assert 3 <= distance.min() < 4
    assert distance.max() <= 14
    assert np.rad2deg(np.arcsin([-camera.rotation[2, 2] for camera in cameras])).max() < 30 + 1e-6
    directions = np.rad2deg([np.arctan2(*camera.position[1::-1]) for camera in cameras])
    assert np.histogram(directions, 8, (-180, 180))[0].min() > 0
    pixels = [c.focal * 1.7 / np.linalg.norm(c.position - (0, 0, 0.88)) for c in cameras]
    assert 20 - 1e-6 <= min(pixels) < 30
    assert 150 < max(pixels) <= 200 + 1e-6
    for camera in cameras:
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-9)


def test_a_mirrored_camera_sees_the_walker_go_to_the_right() -> None:
    figure = walk(settings_of(), 1, "nm-01")
    for share, sign in ((0.0, -1), (1.0, 1)):
        centres, _ = project(draw_camera(Cameras(mirrored=share), "090", np.random.default_rng(0)), figure)
        assert np.sign(centres[0, -1].mean() - centres[0, 0].mean()) == sign


def test_a_curved_walk_turns_without_sliding_feet() -> None:
    figure = walk(settings_of(30), 2, "nm-01")
    curved = bend(figure, 15.0)
    pelvis = curved.centres[:, curved.names.index("hips"), :2]
    course = np.unwrap(np.arctan2(*np.diff(pelvis, axis=0).T[::-1]))
    distance = np.linalg.norm(np.diff(pelvis, axis=0), axis=1).sum()
    assert np.rad2deg(course[-3:].mean() - course[:3].mean()) == pytest.approx(15 * distance, rel=0.25)
    for name in ("ball_0", "ball_1"):
        before, after = (f.centres[:, f.names.index(name)] for f in (figure, curved))
        speeds = [np.linalg.norm(np.diff(path, axis=0), axis=1) for path in (before, after)]
        standing = speeds[0] < 0.004
        assert standing.any()
        assert speeds[1][standing].max() < 0.006
    lengths = [np.linalg.norm(f.axes, axis=2) for f in (figure, curved)]
    np.testing.assert_allclose(*lengths, atol=1e-9)


@pytest.mark.parametrize("rate", [12.5, 50.0])
def test_the_frame_rate_sets_the_phase_step(rate: float) -> None:
    default = draw_walk(settings_of(), 1, "nm-01").phase
    other = draw_walk(settings_of(frame_rate={"per_second": (rate, rate)}), 1, "nm-01").phase
    assert np.diff(other).mean() == pytest.approx(np.diff(default).mean() * 25 / rate, rel=0.05)
    short_path = settings_of(frame_rate={"per_second": (12.5, 12.5)}, cameras={"metres": 1.0})
    assert len(draw_walk(short_path, 1, "nm-01").phase) < 14


def test_normalised_pictures_equal_the_frames() -> None:
    settings = settings_of(segmentation={"network": 1.0, "shadow": 1.0}, cameras={"anywhere": 1.0})
    for subject in range(1, 5):
        figure = walk(settings, subject, "nm-01")
        pictures = render_sequence(settings, subject, "nm-01", "036", figure)
        assert pictures.shape[1:] == (240, 320)
        frames = render_frames(settings, subject, "nm-01", "036", figure)
        normalised = np.stack([normalise_silhouette(picture) for picture in pictures])
        # The width is rounded at a different step.
        assert np.abs(normalised.astype(int) - frames).mean() < 12


def test_a_missing_bag_is_missing_in_every_frame() -> None:
    knobs = Segmentation(network=1.0, subtraction=0.0)
    figure = walk(settings_of(), 1, "bg-01")
    losses = [draw_segmenter(knobs, figure, 100, np.random.default_rng(seed)).losses for seed in range(40)]
    missing = [any(loss.part == "bag" and loss.last - loss.first == 20 for loss in drawn) for drawn in losses]
    assert 2 < sum(missing) < 20


@pytest.mark.parametrize(
    ("section", "knob", "value"),
    [
        ("cameras", "height", (6.0, 0.5)),
        ("cameras", "anywhere", 1.5),
        ("cameras", "pixels", (20.0,)),
        ("frame_rate", "per_second", (1.0, 25.0)),
        ("segmentation", "subtraction", 0.0),
        ("segmentation", "box_error", -0.1),
    ],
)
def test_an_invalid_knob_is_named(section: str, knob: str, value: Any) -> None:
    with pytest.raises(Exception, match=f"{section}|{knob}"):
        World().replaced({section: {knob: value}})
