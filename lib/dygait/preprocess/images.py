"""Decode a PNG to a silhouette: every encoding of the same mask gives the same uint8 picture."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

MAX_IMAGE_BYTES = 16 * 2**20
"""The largest file that is read; silhouettes have a few thousand bytes."""

_MAX_IMAGE_PIXELS = 2**25
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class ImageError(ValueError):
    """A picture cannot be used; the message is a short reason that the report groups by."""


def decode_silhouette(content: bytes) -> np.ndarray:
    """Decode one PNG to uint8 (H, W).

    Grey of 1 to 16 bits, colour and palette, with or without alpha, and masks of 0 and 1, 0 and 255 or 0 and 65535
    give levels 0 to 255. Transparent pixels are background.

    Raises:
        ImageError: the file is empty, not a PNG, damaged or too large.
    """
    _check_png(content)
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ImageError("damaged")
    if image.dtype == np.uint16:
        # Values up to 255 in 16 bits are an 8-bit picture or a mask.
        image = image.astype(np.uint8) if image.max() <= 255 else (image // 256).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] == 4:
        image = cv2.cvtColor(image * (image[:, :, 3:] > 0), cv2.COLOR_BGRA2GRAY)
    elif image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return image * np.uint8(255) if image.size and image.max() == 1 else image


def _check_png(content: bytes) -> None:
    """Check that a PNG is complete and not too large; the decoder would fill missing rows with black."""
    if not content:
        raise ImageError("empty file")
    if len(content) > MAX_IMAGE_BYTES:
        raise ImageError("too large")
    if not content.startswith(_SIGNATURE):
        raise ImageError("not a PNG")
    offset, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        if offset + 12 > len(content):
            raise ImageError("damaged")
        length, kind = struct.unpack(">I4s", content[offset : offset + 8])
        end = offset + 8 + length
        if zlib.crc32(content[offset + 4 : end]).to_bytes(4, "big") != content[end : end + 4]:
            raise ImageError("damaged")
        if offset == len(_SIGNATURE):
            if kind != b"IHDR" or length != 13:
                raise ImageError("damaged")
            columns, rows = struct.unpack(">II", content[offset + 8 : offset + 16])
            if columns * rows > _MAX_IMAGE_PIXELS:
                raise ImageError("too large")
        offset = end + 4
