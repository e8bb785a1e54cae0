import cv2
import numpy as np
import pytest

from dygait.synthetic.body import Figure, FigureBuilder
from dygait.synthetic.cameras import FOCAL, HEIGHT, VIEWS, WIDTH, camera
from dygait.synthetic.renderer import SUBPIXEL_BITS, fill, outlines, project, windows


def spheres(*centres: tuple[float, float, float], radius: float = 0.1) -> Figure:
    builder = FigureBuilder(1, 1.0)
    for number, centre in enumerate(centres):
        builder.sphere(str(number), np.array([centre]), radius)
    builder.hull("body", *map(str, range(len(centres))))
    return builder.figure()


def picture_of(figure: Figure, view: str) -> np.ndarray:
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill(picture, outlines(figure, *project(camera(view), figure))[0])
    return picture


@pytest.mark.parametrize("view", VIEWS)
def test_a_sphere_is_a_disc_of_the_right_size_and_position(view: str) -> None:
    viewer = camera(view)
    centre = np.array([0.3, -0.2, 1.0])
    figure = spheres(tuple(centre))
    picture = picture_of(figure, view)
    x, y, depth = viewer.rotation @ (centre - viewer.position)
    radius = 0.1 * FOCAL / depth
    moments = cv2.moments(picture, binaryImage=True)
    assert abs(moments["m10"] / moments["m00"] - (WIDTH / 2 + FOCAL * x / depth)) < 0.7
    assert abs(moments["m01"] / moments["m00"] - (HEIGHT / 2 + FOCAL * y / depth)) < 0.7
    assert abs(np.sqrt(moments["m00"] / np.pi) - radius) < 0.7


def test_a_hull_is_the_convex_hull_of_its_spheres() -> None:
    rng = np.random.default_rng(0)
    figure = spheres((0, 0, 0.5), (0.2, 0.3, 1.0), (-0.2, 0.1, 1.4))
    viewer = camera("054")
    directions = rng.standard_normal((20000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    surface = (figure.centres[0][:, None] + 0.1 * directions).reshape(-1, 3)
    camera_points = (surface - viewer.position) @ viewer.rotation.T
    points = camera_points[:, :2] / camera_points[:, 2:] * FOCAL + (WIDTH / 2, HEIGHT / 2)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(expected, cv2.convexHull(np.rint(points * 16).astype(np.int32)), 255, cv2.LINE_8, SUBPIXEL_BITS)
    picture = picture_of(figure, "054")
    differing = np.count_nonzero(picture != expected)
    assert differing < 0.05 * np.count_nonzero(expected)


def test_projected_radii_of_an_ellipsoid() -> None:
    builder = FigureBuilder(1, 1.0)
    builder.ellipsoid("oval", (np.array([[0.0, 0.0, 0.9]]), np.eye(3)[None]), (0.0, 0.0, 0.0), (0.3, 0.1, 0.2))
    builder.hull("body", "oval")
    figure = builder.figure()
    for view, ratio in (("090", 1.5), ("000", 0.5)):
        _, ellipses = project(camera(view), figure)
        assert np.sqrt(ellipses[0, 0, 0] / ellipses[2, 0, 0]) == pytest.approx(ratio, rel=0.05)


@pytest.mark.parametrize("height", [1.0, 3.0])
def test_a_window_equals_its_part_of_the_picture(height: float) -> None:
    figure = spheres((0.0, 0.3, height), (0.1, 0.0, 0.6), radius=0.2)
    projection = project(camera("036"), figure)
    origins, (width, rows) = windows(*projection, margin=3)
    (x, y) = origins[0].tolist()
    window = np.zeros((rows, width), np.uint8)
    fill(window, outlines(figure, *projection, origins)[0])
    expected = picture_of(figure, "036")
    np.testing.assert_array_equal(window, expected[y : y + rows, x : x + width])
    assert window.sum() == expected.sum()
    left, top, box_width, _ = cv2.boundingRect(expected)
    assert 3 <= left - x <= 5
    assert 3 <= x + width - left - box_width <= 5
    assert (top - y if y else 3) in (3, 4, 5)
    assert (y > 0) == (height == 1.0), "the other figure is cut off by the edge of the picture"


def test_the_walker_moves_left_at_090_and_towards_the_camera_at_000() -> None:
    figure = spheres((0.0, 0.0, 1.0), (1.0, 0.0, 1.0))
    (before, after), _ = project(camera("090"), figure)[0][:, 0]
    assert after < before
    _, (far, near) = project(camera("000"), figure)[0][:, 0]
    assert near > far
