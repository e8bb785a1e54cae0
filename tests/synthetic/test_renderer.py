from __future__ import annotations

import cv2
import numpy as np
import pytest

from dygait.synthetic.body import Figure, FigureBuilder
from dygait.synthetic.cameras import FOCAL, HEIGHT, VIEWS, WIDTH, camera
from dygait.synthetic.renderer import SUBPIXEL_BITS, fill, outlines, project


def spheres(*centres: tuple[float, float, float], radius: float = 0.1) -> Figure:
    builder = FigureBuilder(1, 1.0)
    for number, centre in enumerate(centres):
        builder.sphere(str(number), np.array([centre]), radius)
    builder.hull("body", *map(str, range(len(centres))))
    return builder.figure()


@pytest.mark.parametrize("view", VIEWS)
def test_a_sphere_is_a_disc_of_the_right_size_and_position(view: str) -> None:
    viewer = camera(view)
    centre = np.array([0.3, -0.2, 1.0])
    figure = spheres(tuple(centre))
    picture = fill(outlines(viewer, figure)[0])
    x, y, depth = viewer.rotation @ (centre - viewer.position)
    radius = 0.1 * FOCAL / depth
    moments = cv2.moments(picture, binaryImage=True)
    assert abs(moments["m10"] / moments["m00"] - (WIDTH / 2 + FOCAL * x / depth)) < 0.7
    assert abs(moments["m01"] / moments["m00"] - (HEIGHT / 2 + FOCAL * y / depth)) < 0.7
    assert abs(np.sqrt(moments["m00"] / np.pi) - radius) < 0.7


def test_a_hull_is_that_of_its_points() -> None:
    rng = np.random.default_rng(0)
    figure = spheres((0, 0, 0.5), (0.2, 0.3, 1.0), (-0.2, 0.1, 1.4))
    viewer = camera("054")
    directions = rng.standard_normal((20000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    surface = (figure.centres[0][:, None] + 0.1 * directions).reshape(-1, 3)
    seen = (surface - viewer.position) @ viewer.rotation.T
    points = seen[:, :2] / seen[:, 2:] * FOCAL + (WIDTH / 2, HEIGHT / 2)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(expected, cv2.convexHull(np.rint(points * 16).astype(np.int32)), 255, cv2.LINE_8, SUBPIXEL_BITS)
    picture = fill(outlines(viewer, figure)[0])
    differing = np.count_nonzero(picture != expected)
    assert differing < 0.05 * np.count_nonzero(expected)


def test_an_ellipsoid_is_seen_with_its_radii() -> None:
    builder = FigureBuilder(1, 1.0)
    builder.ellipsoid("oval", (np.array([[0.0, 0.0, 0.9]]), np.eye(3)[None]), (0.0, 0.0, 0.0), (0.3, 0.1, 0.2))
    figure = builder.figure()
    for view, ratio in (("090", 1.5), ("000", 0.5)):
        _, ellipse = project(camera(view), figure.centres, figure.shapes)
        assert np.sqrt(ellipse[0, 0, 0] / ellipse[0, 0, 2]) == pytest.approx(ratio, rel=0.05)


def test_hidden_hulls_are_not_drawn() -> None:
    corners = outlines(camera("090"), spheres((0, 0, 1)))[0]
    assert fill(corners, np.array([False])).max() == 0
    assert fill(corners, np.array([True])).max() == 255


def test_the_walker_goes_to_the_left_at_090_and_comes_nearer_at_000() -> None:
    figure = spheres((0.0, 0.0, 1.0), (1.0, 0.0, 1.0))
    (before, after), _ = (found[0] for found in project(camera("090"), figure.centres, figure.shapes))
    assert after[0] < before[0]
    _, (far, near) = (found[0] for found in project(camera("000"), figure.centres, figure.shapes))
    assert near[0] > far[0]
