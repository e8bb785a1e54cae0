"""The outline of a person in front of the background, without shadows, blurred rims and small holes."""

from __future__ import annotations

import cv2
import numpy as np

_FOREGROUND = 255  # label of foreground in MOG2; shadows have a lower one, and the background 0
_WINDOW = (9, 9)  # window in which textures are compared, in pixels
_UNLIKE = 5.0  # the largest difference of a shadow's texture from the background's, in variances of the noise
_UPPER = 0.75  # upper share of a person's height in which there is no shadow on the ground
_RIM = 0.5  # least difference of an outline pixel from the background, relative to the pixels nearby
_HOLE = 0.03  # the largest hole that is filled, as a share of the person's area; gaps between legs are larger

_ELLIPSE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def outline(labels: np.ndarray, picture: np.ndarray, background: np.ndarray, noise: float) -> np.ndarray:
    """Return the mask of the person in a window, without shadows.

    Args:
        labels: uint8 (H, W), labels of the background model: 0 background, 255 foreground, in between shadow.
        picture: uint8 (H, W, 3).
        background: uint8 (H, W, 3).
        noise: standard deviation of the picture's noise, in grey levels.

    Returns:
        uint8 (H, W), 0 or 255.
    """
    foreground = cv2.threshold(labels, _FOREGROUND - 1, 255, cv2.THRESH_BINARY)[1]
    shadow = cv2.bitwise_xor(cv2.threshold(labels, 0, 255, cv2.THRESH_BINARY)[1], foreground)
    mask = foreground | (shadow & _dark_clothes(foreground, picture, background, noise))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _ELLIPSE)
    return _fill_small_holes(_without_rim(mask, picture, background))


def _dark_clothes(foreground: np.ndarray, picture: np.ndarray, background: np.ndarray, noise: float) -> np.ndarray:
    """Return where pixels that look like a shadow are dark clothes, uint8 (H, W), 0 or 255.

    A shadow keeps the texture of the surface: the window around a pixel is that of the background, times a factor.
    Where the background has no texture, pixels between foreground above and below are clothes.
    """
    _, top, _, height = cv2.boundingRect(foreground)
    if not height:
        return np.zeros_like(foreground)
    x, y = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in (picture, background))
    means = [cv2.blur(product, _WINDOW) for product in (x, y, x * x, x * y, y * y)]
    factor = means[0] / np.maximum(means[1], 1)
    difference = means[2] - 2 * factor * means[3] + factor**2 * means[4]
    texture = factor**2 * (means[4] - means[1] ** 2)
    limit = _UNLIKE * (1 + factor**2) * noise**2
    is_clothes = (difference > limit) | ((texture <= 2 * limit) & _between(foreground))
    is_clothes[top + round(_UPPER * height) :] = False
    return is_clothes.view(np.uint8) * np.uint8(255)


def _between(mask: np.ndarray) -> np.ndarray:
    """Return which pixels have parts of a mask above and below them, bool (H, W)."""
    above = np.maximum.accumulate(mask, 0) > 0
    below = np.maximum.accumulate(mask[::-1], 0)[::-1] > 0
    return above & below


def _without_rim(mask: np.ndarray, picture: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Remove blurred pixels of the outline that show more of the background than of the person."""
    difference = cv2.absdiff(picture, background).max(2)
    nearby = cv2.dilate(difference & mask, _ELLIPSE)
    rim = cv2.bitwise_xor(mask, cv2.erode(mask, _ELLIPSE)) > 0
    result = mask.copy()
    result[rim & (difference < _RIM * nearby)] = 0
    return cv2.medianBlur(result, 3)


def _fill_small_holes(mask: np.ndarray) -> np.ndarray:
    """Fill holes that are small relative to their component, in place."""
    outlines, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, (_, _, _, outer) in zip(outlines, [] if hierarchy is None else hierarchy[0], strict=True):
        if outer >= 0 and cv2.contourArea(contour) < _HOLE * cv2.contourArea(outlines[outer]):
            cv2.drawContours(mask, [contour], -1, 255, cv2.FILLED)
    return mask
