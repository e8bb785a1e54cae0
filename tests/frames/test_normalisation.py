import numpy as np
import pytest

from dygait.errors import UserError
from dygait.frames.normalisation import normalise_silhouette
from reference.silhouettes import normalise_silhouette as reference


def figure(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Return a picture of a few bright boxes."""
    image = np.zeros((rows, columns), np.uint8)
    for _ in range(rng.integers(1, 5)):
        top, left = rng.integers(0, rows - 10), rng.integers(0, columns - 10)
        image[top : top + rng.integers(8, rows), left : left + rng.integers(8, columns // 3)] = rng.integers(120, 256)
    return image


@pytest.mark.parametrize("height", [64, 128])
@pytest.mark.parametrize("shape", [(240, 320), (120, 100), (64, 64), (300, 90), (90, 400)])
def test_equals_the_reference_pixel_by_pixel(shape: tuple[int, int], height: int) -> None:
    rng = np.random.default_rng([*shape, height])
    for image in [*(figure(rng, *shape) for _ in range(6)), rng.integers(0, 256, shape, dtype=np.uint8)]:
        expected, frame = reference(image, height), normalise_silhouette(image, height)
        assert (expected is None) == (frame is None)
        if expected is not None and frame is not None:
            assert frame.dtype == np.uint8
            assert frame.shape == (height, height)
            np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("left", [0, 5, 40, 280, 300])
def test_a_body_at_the_edge_is_padded(left: int) -> None:
    image = np.zeros((240, 320), np.uint8)
    image[60:180, left : left + 20] = 255
    frame = normalise_silhouette(image)
    np.testing.assert_array_equal(frame, reference(image))
    columns = np.flatnonzero(frame.any(0))
    assert abs((columns[0] + columns[-1]) / 2 - 32) < 2


def test_a_mask_of_0_and_1_equals_one_of_0_and_255() -> None:
    image = np.zeros((240, 320), np.uint8)
    image[50:200, 100:140] = 1
    frame = normalise_silhouette(image)
    np.testing.assert_array_equal(frame, normalise_silhouette(image * np.uint8(255)))
    np.testing.assert_array_equal(frame, reference(image))
    assert image.max() == 1


def test_a_picture_with_a_sum_of_at_most_10000_is_dropped() -> None:
    image = np.zeros((100, 100), np.uint8)
    image[10:50, 50] = 250
    assert normalise_silhouette(image) is None
    image[50, 50] = 1
    assert normalise_silhouette(image) is not None


@pytest.mark.parametrize(
    "image",
    [*(np.zeros(shape, np.uint8) for shape in ((240, 320), (0, 320), (10, 0))), np.full((2000, 20), 255, np.uint8)],
)
def test_empty_and_too_narrow_pictures(image: np.ndarray) -> None:
    assert normalise_silhouette(image) is None


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((240, 320), np.float32),
        np.zeros((240, 320), bool),
        np.zeros((240, 320, 3), np.uint8),
        np.zeros(240, np.uint8),
        [[0, 255]],
    ],
)
def test_another_type_or_shape(image: np.ndarray) -> None:
    with pytest.raises(UserError, match="uint8 array of shape"):
        normalise_silhouette(image)


@pytest.mark.parametrize("height", [0, -64, 63])
def test_a_height_that_cannot_be_centred(height: int) -> None:
    with pytest.raises(UserError, match="even number of rows"):
        normalise_silhouette(np.full((64, 64), 255, np.uint8), height)
