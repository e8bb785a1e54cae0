"""Labels of body parts: on the silhouette, in anatomical order, nearer parts in front of farther ones."""

import numpy as np
import pytest

from dygait.synthetic.body_parts import PARTS, gait_phase, part_frames
from dygait.synthetic.settings import PRESETS, Settings
from dygait.synthetic.walker import draw_walk, render_frames, walk

SETTINGS = PRESETS["quick"]


def parts_and_frames(
    subject: int, kind: str, view: str, settings: Settings = SETTINGS
) -> tuple[np.ndarray, np.ndarray]:
    frames = render_frames(settings, subject, kind, view, walk(settings, subject, kind))
    return part_frames(settings, subject, kind, view, frames), frames


@pytest.mark.parametrize(("subject", "kind"), [(1, "nm-01"), (2, "bg-01"), (3, "cl-01")])
@pytest.mark.parametrize("view", ["000", "090", "144"])
def test_parts_lie_on_the_silhouette(subject: int, kind: str, view: str) -> None:
    labels, frames = parts_and_frames(subject, kind, view)
    assert labels.shape == frames.shape
    body, segmented = labels > 0, frames > 127
    iou = (body & segmented).sum((1, 2)) / (body | segmented).sum((1, 2))
    assert np.median(iou) > 0.85
    assert iou.mean() > 0.8
    expected = set(range(1, 7)) | ({PARTS.index("carried") + 1} if kind.startswith("bg") else set())
    assert set(np.unique(labels).tolist()) - {0} == expected


@pytest.mark.parametrize(("subject", "kind"), [(1, "nm-01"), (2, "cl-01"), (5, "bg-02")])
def test_parts_in_the_wild_preset(subject: int, kind: str) -> None:
    labels, frames = parts_and_frames(subject, kind, "108", PRESETS["wild"])
    body, segmented = labels > 0, frames > 127
    iou = (body & segmented).sum((1, 2)) / np.maximum((body | segmented).sum((1, 2)), 1)
    assert np.median(iou) > 0.5


def test_parts_are_in_anatomical_order() -> None:
    labels, _ = parts_and_frames(1, "nm-01", "090")
    rows = np.arange(64)
    means = [(labels == n).sum((0, 2)) @ rows / (labels == n).sum() for n in range(1, 7)]
    head, trunk, arms, thighs, shanks, feet = means
    assert head < trunk < thighs < shanks < feet
    assert head < arms < shanks


def test_the_nearer_arm_hides_the_trunk() -> None:
    """From the left at phase 0.25, both arms hang beside the trunk: the left is in front of it."""
    labels, _ = parts_and_frames(1, "nm-01", "090")
    phase = gait_phase(SETTINGS, 1, "nm-01")
    assert phase.tolist() == draw_walk(SETTINGS, 1, "nm-01").phase.tolist()
    frame = labels[np.abs(phase % 0.5 - 0.25).argmin()]
    middle = frame[25:30, 20:44]
    assert PARTS.index("arms") + 1 in middle
    assert PARTS.index("trunk") + 1 in middle


def test_the_visible_body_has_64_rows() -> None:
    labels, _ = parts_and_frames(2, "nm-02", "036")
    assert labels.any(2).all(1).mean() > 0.9
