"""The cleaning of masks: from any picture, the mask of one person remains."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from dygait.frames.mask_cleaning import INVERTED, SECOND, SPECKS, THRESHOLDED, MaskError, clean_mask, keep_person


def person(shape: tuple[int, int] = (240, 320), left: int | None = None) -> np.ndarray:
    """Draw a person with a head, two legs and a hole between an arm and the body, scaled to the picture."""
    rows, columns = shape
    image, unit = np.zeros(shape, np.uint8), rows / 24
    x = columns // 2 if left is None else left
    point: Callable[[float, float], tuple[int, int]] = lambda dx, y: (x + round(dx * unit), round(y * unit))  # noqa: E731
    cv2.circle(image, point(0, 3.5), max(1, round(1.5 * unit)), 255, -1)
    cv2.rectangle(image, point(-2, 4.8), point(2, 13), 255, -1)
    cv2.line(image, point(0, 12), point(-2.5, 21), 255, max(1, round(1.6 * unit)))
    cv2.line(image, point(0, 12), point(2.5, 21), 255, max(1, round(1.6 * unit)))
    cv2.rectangle(image, point(0.6, 7), point(1.2, 11), 0, -1)
    return image


def iou(actual: np.ndarray, expected: np.ndarray) -> float:
    a, b = actual > 0, expected > 0
    return float((a & b).sum() / (a | b).sum())


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded


SIZES = [(240, 320), (480, 640), (64, 44), (120, 60), (1080, 1920)]


@pytest.mark.parametrize("shape", SIZES)
def test_a_clean_mask_is_unchanged(shape: tuple[int, int]) -> None:
    image = person(shape)
    for levels in (image, image // 255, image // 4 + 100):
        cleaned = clean_mask(levels)
        assert (cleaned.steps, cleaned.inverted) == ((), False)
        np.testing.assert_array_equal(cleaned.mask, image)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("quality", [20, 75, 95])
def test_compression_is_thresholded(shape: tuple[int, int], quality: int) -> None:
    image = person(shape)
    cleaned = clean_mask(jpeg(image, quality))
    assert THRESHOLDED in cleaned.steps
    assert iou(cleaned.mask, image) > (0.9 if quality == 20 else 0.96)
    assert set(np.unique(cleaned.mask)) == {0, 255}


def test_noise_blur_and_colours() -> None:
    image, rng = person(), np.random.default_rng(0)
    noisy = np.clip(image.astype(float) * 0.8 + 20 + rng.normal(0, 15, image.shape), 0, 255).astype(np.uint8)
    for picture in (noisy, cv2.GaussianBlur(image, (9, 9), 2), np.dstack([image // 2, image, 255 - image // 3])):
        assert iou(clean_mask(picture).mask, image) > 0.95


@pytest.mark.parametrize("compressed", [False, True])
def test_dark_on_light(compressed: bool) -> None:
    image = person()
    cleaned = clean_mask(jpeg(255 - image) if compressed else 255 - image)
    assert INVERTED in cleaned.steps
    assert cleaned.inverted
    assert iou(cleaned.mask, image) > 0.96
    np.testing.assert_array_equal(clean_mask(255 - image, inverted=True).mask, image)
    assert clean_mask(image, inverted=True).inverted


def test_a_tight_crop_keeps_its_polarity() -> None:
    image = person()
    x, y, width, height = cv2.boundingRect(image)
    crop = image[y : y + height, x : x + width]
    np.testing.assert_array_equal(clean_mask(crop).mask, crop)
    np.testing.assert_array_equal(clean_mask(255 - crop).mask, crop)


def test_specks_are_removed_and_holes_kept() -> None:
    image = person()
    dirty = image.copy()
    dirty[0, 5:9] = dirty[236:240, 300:304] = dirty[100, 0] = 255  # at the edges
    dirty[:, -1] = 255  # a line along one of them
    dirty[np.random.default_rng(0).random(image.shape) < 0.002] = 255
    cleaned = clean_mask(dirty)
    assert cleaned.steps == (SPECKS,)
    assert iou(cleaned.mask, image) > 0.98
    assert cv2.boundingRect(cleaned.mask)[1::2] == cv2.boundingRect(image)[1::2], "the rows of the person"
    assert cleaned.mask[90, 329 // 2 + 5] == image[90, 329 // 2 + 5]


def test_a_border_around_the_picture_is_removed() -> None:
    image = person((240, 320))
    small = np.zeros_like(image)
    small[100:160, 100:180] = cv2.resize(image, (80, 60), interpolation=cv2.INTER_NEAREST)
    dirty = small.copy()
    dirty[[0, 1, -2, -1]] = 255
    dirty[:, [0, 1, -2, -1]] = 255
    assert np.count_nonzero(dirty) > 2 * np.count_nonzero(small)
    np.testing.assert_array_equal(clean_mask(dirty, inverted=False).mask, small)


def test_nearby_pieces_of_the_person_are_kept() -> None:
    image = person()
    cut = image.copy()
    cut[48:58] = 0  # between head and body: 10 of 180 rows
    cleaned = clean_mask(cut)
    np.testing.assert_array_equal(cleaned.mask, cut)
    assert cleaned.steps == ()
    distant = cut.copy()
    distant[40:90] = 0
    assert cv2.boundingRect(clean_mask(distant).mask)[1] == 90, "a distant piece is not the person's"


def test_a_second_person_is_reported() -> None:
    image = person(left=90)
    two = image | cv2.resize(person(left=230), None, fx=1, fy=1)
    two[:60, 200:] = 0  # smaller
    mask, removed = keep_person(two)
    np.testing.assert_array_equal(mask, image)
    assert removed == (SECOND,)


@pytest.mark.parametrize("level", [0, 1, 255])
def test_nobody(level: int) -> None:
    assert not clean_mask(np.full((40, 30), level, np.uint8)).mask.any()
    noise = np.full((400, 300), level // 2, np.uint8) + np.random.default_rng(0).integers(0, 3, (400, 300), np.uint8)
    noise[::2] += 3
    assert not clean_mask(noise).mask.any()


def test_photographs() -> None:
    for photograph in load_sample_images().images:
        for picture in (photograph, jpeg(photograph, 60), photograph[:, :, 1], cv2.resize(photograph, (88, 128))):
            with pytest.raises(MaskError, match="photograph"):
                clean_mask(np.ascontiguousarray(picture))


def test_label_maps() -> None:
    two = person(left=90) // 255 + 2 * (person(left=230) // 255)
    for picture in (two, two * 100, np.dstack([np.uint8(128) * (two == 1), np.uint8(128) * (two == 2), 0 * two])):
        with pytest.raises(MaskError, match="label map"):
            clean_mask(picture)


def test_the_steps_have_different_names() -> None:
    steps = [THRESHOLDED, INVERTED, SPECKS, SECOND]
    assert len(set(steps)) == len(steps)
