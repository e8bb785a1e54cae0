"""The outline of somebody who differs from the background: what is a shadow, what is a blurred rim, what is a hole."""

from __future__ import annotations

import cv2
import numpy as np

_FOREGROUND = 255  # the value of MOG2; that of shadows is lower, and of the background 0
_WINDOW = (9, 9)  # pixels in which the background's texture is looked for
_UNLIKE = 5.0  # variances of the noise by which a shadow's texture differs at most from the background's
_UPPER = 0.75  # the share of a person's height, from above, in which a shadow on the ground cannot be
_RIM = 0.5  # the share of the difference nearby that a pixel of the outline has at least
_HOLE = 0.03  # the share of a person's area that a hole which is filled has at most; between legs it is larger

_ELLIPSE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def outline(labels: np.ndarray, picture: np.ndarray, background: np.ndarray, noise: float) -> np.ndarray:
    """Return the mask of what differs from the background in a window, without shadows.

    Args:
        labels: uint8 (H, W) of the background model: 0 background, 255 foreground, in between shadow.
        picture: uint8 (H, W, 3).
        background: uint8 (H, W, 3).
        noise: standard deviation of the picture's noise, in grey levels.

    Returns:
        uint8 (H, W), 0 or 255.
    """
    sure = cv2.threshold(labels, _FOREGROUND - 1, 255, cv2.THRESH_BINARY)[1]
    doubtful = cv2.bitwise_xor(cv2.threshold(labels, 0, 255, cv2.THRESH_BINARY)[1], sure)
    mask = sure | (doubtful & _clothes(sure, picture, background, noise))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _ELLIPSE)
    return _fill_small_holes(_without_rim(mask, picture, background))


def _clothes(sure: np.ndarray, picture: np.ndarray, background: np.ndarray, noise: float) -> np.ndarray:
    """Return where a darker copy of the background's colour is no shadow, uint8 (H, W), 0 or 255.

    A shadow keeps the texture of what it falls on: the window around a pixel is the background's, times a factor. Where
    the background has no texture, clothes are what lies between sure parts of the person above and below.
    """
    _, top, _, height = cv2.boundingRect(sure)
    if not height:
        return np.zeros_like(sure)
    now, then = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in (picture, background))
    means = [cv2.blur(product, _WINDOW) for product in (now, then, now * now, now * then, then * then)]
    factor = means[0] / np.maximum(means[1], 1)
    unlike = means[2] - 2 * factor * means[3] + factor**2 * means[4]
    texture = factor**2 * (means[4] - means[1] ** 2)
    most = _UNLIKE * (1 + factor**2) * noise**2
    found = (unlike > most) | ((texture <= 2 * most) & _between(sure))
    found[top + round(_UPPER * height) :] = False
    return found.view(np.uint8) * np.uint8(255)


def _between(sure: np.ndarray) -> np.ndarray:
    """Return which pixels have parts of a mask above and below them, bool (H, W)."""
    above = np.maximum.accumulate(sure, 0) > 0
    below = np.maximum.accumulate(sure[::-1], 0)[::-1] > 0
    return above & below


def _without_rim(mask: np.ndarray, picture: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Remove pixels of the outline that show more of the background than of the person, as a lens blurs them."""
    difference = cv2.absdiff(picture, background).max(2)
    nearby = cv2.dilate(difference & mask, _ELLIPSE)
    rim = cv2.bitwise_xor(mask, cv2.erode(mask, _ELLIPSE)) > 0
    kept = mask.copy()
    kept[rim & (difference < _RIM * nearby)] = 0
    return cv2.medianBlur(kept, 3)


def _fill_small_holes(mask: np.ndarray) -> np.ndarray:
    """Fill holes that are small beside their component."""
    outlines, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour, (_, _, _, outer) in zip(outlines, [] if hierarchy is None else hierarchy[0], strict=True):
        if outer >= 0 and cv2.contourArea(contour) < _HOLE * cv2.contourArea(outlines[outer]):
            cv2.drawContours(mask, [contour], -1, 255, cv2.FILLED)
    return mask
