import dataclasses
import itertools

import cv2
import numpy as np
import pytest

from dygait.frames.normalisation import normalise_silhouette
from dygait.synthetic import coats
from dygait.synthetic import walker as walkers
from dygait.synthetic.body import Figure, Physique, build_body
from dygait.synthetic.cameras import VIEWS, camera
from dygait.synthetic.carried import Bag, BagSize, add_bag
from dygait.synthetic.faults import (
    GAP,
    MARGIN,
    Background,
    Loss,
    Speck,
    apply_faults,
    draw_background,
    draw_faults,
    visible_hulls,
)
from dygait.synthetic.gait import Gait
from dygait.synthetic.gait_style import Style
from dygait.synthetic.renderer import fill, outlines, project, windows
from dygait.synthetic.settings import Settings
from dygait.synthetic.walker import TYPES, render_frames, render_sequence, walk

PHASE = np.linspace(0, 1, 13)
SEED = 3


def settings_of(minimum: int, maximum: int | None = None, seed: int = SEED) -> Settings:
    """Return settings with a number of frames in a range."""
    return Settings(train_ids=40, test_ids=0, frames=(minimum, maximum or minimum), seed=seed)


NO_BACKGROUND = Background(0.0, ())


def mean_subject(bag: Bag | None = None, coat: coats.Coat | None = None) -> Figure:
    """Return the mean subject, with a bag or a coat if given."""
    body = Physique()
    motion = Gait(body, Style(), np.zeros((2, 3, 3))).pose(PHASE)
    motion.joints.update({name: position - [0.6, 0, 0] for name, position in motion.joints.items()})
    builder = build_body(body, motion)
    if bag is not None:
        add_bag(builder, bag, body, motion, PHASE)
    if coat is not None:
        coats.add_coat(builder, coat, body, motion)
    return builder.figure()


def pictures_of(figure: Figure, view: str) -> np.ndarray:
    """Return the silhouettes without faults, (S, 240, 320)."""
    pictures = np.zeros((len(figure.centres), 240, 320), np.uint8)
    for picture, corners in zip(pictures, outlines(figure, *project(camera(view), figure)), strict=True):
        fill(picture, corners)
    return pictures


def added_pixels(figure: Figure, view: str) -> tuple[np.ndarray, float, float]:
    """Return how often a figure, not the mean subject, covers each pixel (240, 320), and the rows of head and feet."""
    mean = pictures_of(mean_subject(), view)
    other = pictures_of(figure, view)
    added = np.sum([(b > 0) & (a == 0) for a, b in zip(mean, other, strict=True)], 0)
    rows = np.flatnonzero(np.any([picture.any(1) for picture in mean], 0))
    return added, float(rows[0]), float(rows[-1])


def energy_image(kind: str, subject: int, view: str) -> np.ndarray:
    """Return the gait energy image, (64, 64)."""
    settings = settings_of(30)
    pictures = render_sequence(settings, subject, kind, view, walk(settings, subject, kind))
    return np.mean([normalise_silhouette(picture) for picture in pictures], 0)


@pytest.mark.parametrize("kind", ["nm-01", "bg-02", "cl-01"])
def test_a_sequence_is_a_function_of_seed_id_type_and_view(kind: str) -> None:
    settings = settings_of(8, 10)
    figure, repeated = walk(settings, 5, kind), walk.__wrapped__(settings_of(8, 10), 5, kind)
    np.testing.assert_array_equal(figure.centres, repeated.centres)
    pictures = render_sequence(settings, 5, kind, "054", figure)
    np.testing.assert_array_equal(render_sequence(settings, 5, kind, "054", figure, [6, 1]), pictures[[6, 1]])
    np.testing.assert_array_equal(render_sequence(settings, 5, kind, "054", repeated), pictures)
    assert 8 <= len(pictures) <= 10
    assert pictures.shape[1:] == (240, 320)
    assert set(np.unique(pictures)) == {0, 255}
    eight = settings_of(8)
    for other in (walk(settings_of(8, seed=SEED + 1), 5, kind), walk(eight, 6, kind), walk(eight, 5, "nm-06")):
        assert other.centres.shape != figure.centres.shape or not np.allclose(other.centres, figure.centres)


def test_all_cameras_see_the_whole_subject_and_fast_walks_are_shorter() -> None:
    walks = [walk(settings_of(110), subject, TYPES[subject]) for subject in range(1, 7)]
    assert min(len(figure.centres) for figure in walks) < max(len(figure.centres) for figure in walks) <= 110
    for figure, view in itertools.product(walks, VIEWS):
        corners = outlines(figure, *project(camera(view), figure)) / 16
        assert corners.min() > 0
        assert (corners.max((0, 1, 2)) < (320, 240)).all()


@pytest.mark.parametrize(("kind", "low", "high"), [("back", 0.12, 0.55), ("hand", 0.4, 0.8), ("shoulder", 0.15, 0.6)])
def test_positions_of_bags(kind: str, low: float, high: float) -> None:
    added, head, feet = added_pixels(mean_subject(bag=Bag(kind, 0, False, BagSize())), "090")
    assert added.sum() > 500
    height = np.average(np.arange(240), weights=added.sum(1))
    assert low < (height - head) / (feet - head) < high
    if kind == "back":  # behind a subject who moves to the left
        assert np.average(np.arange(320), weights=added.sum(0)) > 160


def test_a_coat_hides_trunk_and_thighs_but_not_head_and_feet() -> None:
    for view in ("000", "090"):
        added, head, feet = added_pixels(mean_subject(coat=coats.Coat(hood=-1, hat=-1)), view)
        share = np.add.reduceat(added.sum(1), (head + (feet - head) * np.array([0, 0.1, 0.65, 0.95])).astype(int))
        assert share[1] > 0.6 * share.sum()
        assert share[0] < 0.05 * share.sum()
        assert share[3] < 0.02 * share.sum()


def test_hats_and_hoods_change_the_head() -> None:
    for coat in (coats.Coat(hat=1.0, hood=-1), coats.Coat(hood=2.0), coats.Coat(hood=0.5, hat=-1)):
        added, head, feet = added_pixels(mean_subject(coat=coat), "090")
        assert added[: int(head + 0.2 * (feet - head))].sum() > 50


def test_bags_and_coats_differ_from_person_to_person() -> None:
    people = [walkers.draw_subject(settings_of(20), subject) for subject in range(1, 40)]
    assert {person.bag.kind for person in people} == {"back", "shoulder", "hand"}
    assert {person.bag.side for person in people} == {0, 1}
    assert np.std([person.coat.length for person in people]) > 0.02


@pytest.mark.parametrize("view", ["000", "090"])
def test_images_differ_more_between_people_than_within(view: str) -> None:
    def images(kind: str) -> np.ndarray:
        return np.stack([energy_image(kind, subject, view).ravel() for subject in range(1, 9)])

    first, second = images("nm-01"), images("nm-02")
    distances = np.linalg.norm(first[:, None] - second[None], axis=2)
    same = np.eye(8, dtype=bool)
    assert distances[~same].mean() > 1.5 * distances[same].mean()


def test_faults_change_pixels_but_leave_the_body() -> None:
    changed_pixels, counts = 0, np.zeros(3, int)
    for subject in range(1, 13):
        figure = walk(settings_of(20), subject, "nm-01")
        faults = draw_faults(figure, NO_BACKGROUND, np.random.default_rng(subject))
        counts += len(faults.holes), len(faults.losses), len(faults.specks)
        clean = pictures_of(figure, "072")
        for before, after in zip(clean, render_sequence(settings_of(20), subject, "nm-01", "072", figure), strict=True):
            changed_pixels += np.count_nonzero(before != after)
            assert 0.5 < np.count_nonzero(after) / np.count_nonzero(before) < 1.5
    assert changed_pixels > 12 * 20 * 30
    assert (counts > 0).all()


def test_lost_parts_and_holes() -> None:
    figure = walk(settings_of(20), 1, "nm-01")
    patch = ((0.0, 0.0, 0.05, 0.05, 0.0),)
    faults = draw_faults(figure, Background(0.0, (("chest", patch, 1.0),) * 20), np.random.default_rng(0))
    hole = next(hole for hole in faults.holes if hole.patch == patch)
    centres = np.zeros((2, 1, len(figure.names)))
    centres[:, :, figure.names.index("chest")] = [[160], [100]]
    canvas = np.zeros((240, 1, 320 + GAP), np.uint8)

    def apply() -> np.ndarray:
        apply_faults(canvas, np.zeros((1, 2), int), figure, faults, [hole.first], centres)
        return canvas[:, 0]

    assert apply().max() == 0, "an empty picture stays empty"
    cv2.rectangle(canvas[:, 0], (140, 60), (180, 180), 255, -1)
    assert apply()[100, 160] == 0

    with_losses = dataclasses.replace(faults, losses=(Loss(3, 6, "head"), Loss(0, -2, "hair")))
    visible = visible_hulls(figure, with_losses.losses)
    for frame in (2, 3, 5, 6, 19):
        assert visible[frame].tolist() == [part != "head" or not 3 <= frame < 6 for part in figure.parts]


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (2.7, 0.0, 0.0), (-2.7, 0.0, 0.0), (0.0, 0.0, -0.9)])
@pytest.mark.parametrize("subject", [1, 2, 5])
def test_windows_on_one_canvas_equal_single_pictures(subject: int, shift: tuple[float, float, float]) -> None:
    """In the middle of the picture and cut off by its edges; with holes and specks."""
    figure = walk(settings_of(20), subject, "bg-01")
    figure = dataclasses.replace(figure, centres=figure.centres + shift)
    spots = draw_background(np.random.default_rng(subject))
    specks = tuple(Speck(frame, (side, 0.4), 2.2) for frame in (3, 4, 17) for side in (0.0, 1.0))
    faults = dataclasses.replace(draw_faults(figure, spots, np.random.default_rng(subject)), specks=specks)
    centres, ellipses = project(camera("090"), figure)

    def draw(frames: list[int], origins: np.ndarray, width: int, height: int) -> np.ndarray:
        canvas = np.zeros((height, len(frames), width + GAP), np.uint8)
        for position, corners in enumerate(outlines(figure, centres, ellipses, origins)[frames]):
            fill(canvas[:, position, :width], corners)
        apply_faults(canvas, origins[frames], figure, faults, frames, centres[:, frames])
        return canvas[..., :width]

    origins, (width, height) = windows(centres, ellipses, MARGIN)
    together = draw(list(range(20)), origins, width, height)
    for frame, (x, y) in enumerate(origins.tolist()):
        single = draw([frame], np.zeros_like(origins), 320, 240)[:, 0]
        np.testing.assert_array_equal(together[:, frame], single[y : y + height, x : x + width])
        assert together[:, frame].sum() == single.sum(), "no pixels outside the window"


@pytest.mark.parametrize(("kind", "view"), [("nm-02", "090"), ("bg-01", "018"), ("cl-01", "144")])
def test_frames_equal_the_normalised_pictures(kind: str, view: str) -> None:
    for subject in range(1, 6):
        settings = settings_of(20)
        figure = walk(settings, subject, kind)
        pictures = render_sequence(settings, subject, kind, view, figure)
        expected = np.stack([normalise_silhouette(picture) for picture in pictures])
        np.testing.assert_array_equal(render_frames(settings, subject, kind, view, figure), expected)
        np.testing.assert_array_equal(render_frames(settings, subject, kind, view, figure, [7, 2]), expected[[7, 2]])
