"""From the bytes of a PNG to a silhouette: all ways to store the same mask give the same uint8 picture."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

LARGEST_IMAGE = 16 * 2**20
"""Bytes of the largest picture that is read; silhouettes have some thousands."""

_LARGEST_AREA = 2**25
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class ImageError(ValueError):
    """A picture that cannot be used; the message is a short reason, the same for all pictures of that kind."""


def decode_silhouette(content: bytes) -> np.ndarray:
    """Read one PNG.

    Grey of 1 to 16 bits, colour and palette, with or without alpha, masks of 0 and 1, of 0 and 255 and of 0 and 65535
    are all read as levels 0 to 255. What is transparent is background.

    Args:
        content: the file's bytes.

    Returns:
        uint8 (H, W).

    Raises:
        ImageError: the file is empty, no PNG, damaged, or beyond all bounds.
    """
    _check(content)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ImageError("damaged")
    if image.dtype == np.uint16:
        # 16 bits that hold no more than 8 are a mask or a grey picture in a wide coat.
        image = image.astype(np.uint8) if image.max() <= 255 else (image // 256).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ImageError("neither 8 nor 16 bits deep")
    if image.ndim == 3:
        channels = image.shape[2]
        if channels == 4:
            image = cv2.cvtColor(image * (image[:, :, 3:] > 0), cv2.COLOR_BGRA2GRAY)
        elif channels == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        elif channels == 2:
            image = image[:, :, 0] * (image[:, :, 1] > 0)
        else:
            image = image[:, :, 0]
    return image * np.uint8(255) if image.size and image.max() == 1 else image


def _check(content: bytes) -> None:
    """See that a PNG is whole and of sane size; the decoder would fill what is missing with black."""
    if not content:
        raise ImageError("empty file")
    if len(content) > LARGEST_IMAGE:
        raise ImageError("too large")
    if not content.startswith(_SIGNATURE):
        raise ImageError("not a PNG")
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(content):
            raise ImageError("damaged")
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        end = at + 8 + length
        if (
            end + 4 > len(content)
            or zlib.crc32(content[at + 4 : end]) != struct.unpack(">I", content[end : end + 4])[0]
        ):
            raise ImageError("damaged")
        if at == len(_SIGNATURE):
            if kind != b"IHDR" or length != 13:
                raise ImageError("damaged")
            columns, rows = struct.unpack(">II", content[at + 8 : at + 16])
            if columns * rows > _LARGEST_AREA:
                raise ImageError("too large")
        at = end + 4
