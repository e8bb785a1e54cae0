"""Decode a picture: every encoding of the same mask gives the same uint8 silhouette."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

MAX_IMAGE_BYTES = 32 * 2**20
"""The largest file that is read; silhouettes have a few thousand bytes, uncompressed photographs many millions."""

_MAX_IMAGE_PIXELS = 2**25
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_BMP = b"BM"
_TIFF = (b"II*\0", b"MM\0*")
_JPEG_END = b"\xff\xd9"


class ImageError(ValueError):
    """A picture that cannot be used; the message is a short reason, by which the report groups pictures."""


def decode_silhouette(content: bytes) -> np.ndarray:
    """Decode a silhouette to uint8 (H, W).

    Grey of 1 to 16 bits, colour and palette, with or without alpha, and masks of 0 and 1, 0 and 255 or 0 and 65535
    give levels 0 to 255. Transparent pixels are background.

    Raises:
        ImageError: the file is empty, no PNG, JPEG, BMP or TIFF, damaged or too large.
    """
    image = _decode(content)
    if image.ndim == 3 and image.shape[2] == 4:
        image = cv2.cvtColor(image * (image[:, :, 3:] > 0), cv2.COLOR_BGRA2GRAY)
    elif image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return image * np.uint8(255) if image.size and image.max() == 1 else image


def decode_picture(content: bytes) -> np.ndarray:
    """Decode any picture to uint8 (H, W) if it is grey, else (H, W, 3); errors as `decode_silhouette`.

    If the alpha channel varies (a cut-out person), it is returned.
    """
    image = _decode(content)
    if image.ndim == 2:
        return image
    if image.shape[2] == 4 and image[:, :, 3].min() < image[:, :, 3].max():
        return np.ascontiguousarray(image[:, :, 3])
    image = np.ascontiguousarray(image[:, :, :3])
    is_grey = (image == image[:, :, :1]).all()
    return np.ascontiguousarray(image[:, :, 0]) if is_grey else image


def _decode(content: bytes) -> np.ndarray:
    """Decode a complete file to uint8 (H, W) or (H, W, C), C 3 or 4."""
    _check(content)
    encoded = np.frombuffer(content, np.uint8)
    pages = [cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)]
    if content.startswith(_TIFF):
        pages = list(cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED)[1])
    if len(pages) > 1:
        raise ImageError("a TIFF of several pages: write a file for each")
    image: np.ndarray | None = pages[0] if pages else None
    if image is None:
        raise ImageError("damaged")
    if image.dtype == np.uint16:
        # Values up to 255 in 16 bits are an 8-bit picture or a mask.
        image = image.astype(np.uint8) if image.max() <= 255 else (image // 256).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ImageError(f"values of type {image.dtype}: write 8 or 16 bits")
    return image


def _check(content: bytes) -> None:
    """Check that a file is a complete picture of a known kind; the decoder would fill missing rows."""
    if not content:
        raise ImageError("empty file")
    if len(content) > MAX_IMAGE_BYTES:
        raise ImageError("too large")
    if content.startswith(_PNG):
        _check_png(content)
    elif content.startswith(_JPEG):
        if _JPEG_END not in content[-1024:]:  # other data may follow
            raise ImageError("damaged")
    elif content.startswith(_BMP):
        if len(content) < 54 or len(content) < struct.unpack_from("<I", content, 2)[0]:
            raise ImageError("damaged")
    elif not content.startswith(_TIFF):
        raise ImageError("not a PNG, JPEG, BMP or TIFF")


def _check_png(content: bytes) -> None:
    """Check the checksum of every chunk, and the size."""
    offset, kind = len(_PNG), b""
    while kind != b"IEND":
        if offset + 12 > len(content):
            raise ImageError("damaged")
        length, kind = struct.unpack(">I4s", content[offset : offset + 8])
        end = offset + 8 + length
        if zlib.crc32(content[offset + 4 : end]).to_bytes(4, "big") != content[end : end + 4]:
            raise ImageError("damaged")
        if offset == len(_PNG):
            if kind != b"IHDR" or length != 13:
                raise ImageError("damaged")
            columns, rows = struct.unpack(">II", content[offset + 8 : offset + 16])
            if columns * rows > _MAX_IMAGE_PIXELS:
                raise ImageError("too large")
        offset = end + 4
