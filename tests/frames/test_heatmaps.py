"""Heat maps of key points: OpenGait's pixels, the formula, missing key points, and bodies without height."""

import math

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.frames.heatmaps import _LIMBS, draw_heat_maps
from helpers.experiments import REPOSITORY
from helpers.poses import walk


def test_pixels_equal_opengaits() -> None:
    """Maps by OpenGait 0efafd4 in float32: random walks with missing key points and confidences from 0 to 1.1."""
    with np.load(REPOSITORY / "tests" / "assets" / "opengait_heatmaps.npz") as golden:
        difference = draw_heat_maps(golden["poses"]).astype(int) - golden["frames"]
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= 4, "of 32,768: two are a level lower on a CPU without AVX-512"


def test_a_canvas_follows_the_formula() -> None:
    """Distances to points and lines in plain Python, before the canvas is cut and resized."""
    import dygait.frames.heatmaps as module

    (points,) = module._scaled(walk(1)[..., :2])
    limbs, joints = np.zeros((2, 128, 128), np.float32)
    for a, b in _LIMBS:
        module._draw_limb(limbs, points[a], points[b], 0.5, 1.0)
    for point in points:
        module._draw_joint(joints, point, 1.0)
    for x, y in [(64, 64), (50, 30), (80, 100), (64, 20), (40, 70)]:
        distance = min(math.dist((x, y), p) for p in points)
        assert joints[y, x] == pytest.approx(math.exp(-(distance**2) / 128), abs=1e-6)
        distance = min(distance_to_line((x, y), points[a].tolist(), points[b].tolist()) for a, b in _LIMBS)
        assert limbs[y, x] == pytest.approx(0.5 * math.exp(-(distance**2) / 128), abs=1e-6)


def distance_to_line(point: tuple[float, float], start: list[float], end: list[float]) -> float:
    shares = (k / 2000 for k in range(2001))
    return min(math.dist(point, [a + t * (b - a) for a, b in zip(start, end, strict=True)]) for t in shares)


def test_the_body_is_centred_and_fills_all_rows() -> None:
    maps = draw_heat_maps(walk())
    assert (maps.shape, maps.dtype) == ((5, 2, 64, 64), np.uint8)
    assert maps[:, :, [0, -1]].any(-1).all(), "the first and the last row are filled"
    assert np.array_equal(draw_heat_maps(walk() * (2.5, 2.5, 1)), draw_heat_maps(walk()))
    assert maps.max() < 0.76 * 255
    certain = draw_heat_maps(walk()[..., :2])
    assert certain.max() > 240


def test_openpose_18_key_points_are_reordered() -> None:
    coco = walk()
    openpose = np.zeros((5, 18, 3))
    openpose[:, [0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10]] = coco
    openpose[:, 1] = (coco[:, 5] + coco[:, 6]) / 2
    assert np.array_equal(draw_heat_maps(openpose), draw_heat_maps(coco))


def test_missing_key_points() -> None:
    complete = walk(9, 1.0)
    missing = complete.copy()
    missing[4, 15, :2] = 0
    difference = draw_heat_maps(missing).astype(int) - draw_heat_maps(complete)
    assert np.abs(difference).max() < 120, "imputed from the other frames"
    assert not difference[[0, 8]].any()
    missing[:, 15, :2] = 0
    assert draw_heat_maps(missing).any(), "missing in all frames: not imputed"


def test_a_body_without_height_is_empty() -> None:
    flat = walk(3)
    flat[1, :, 1] = 7
    assert draw_heat_maps(flat).any((1, 2, 3)).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(5, 17), (0, 17, 3), (5, 16, 3), (5, 17, 4)])
def test_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"must be \(S, 17, 3\)"):
        draw_heat_maps(np.ones(shape))
