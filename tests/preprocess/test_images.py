import struct
import zlib

import cv2
import numpy as np
import pytest

from dygait.preprocess.images import ImageError, decode_picture, decode_silhouette
from helpers import raw

MASK = raw.picture(3, (60, 50))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def make_png(depth: int, colour: int, rows: list[bytes], *extra: bytes, shape: tuple[int, int] = (60, 50)) -> bytes:
    """Return a PNG of a bit depth and colour type that OpenCV does not write."""
    header = struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


BITS = MASK > 0
BYTES = [row.astype(np.uint8).tobytes() for row in BITS]
PACKED = [np.packbits(row).tobytes() for row in BITS]
COLOUR = np.repeat(MASK[:, :, None], 3, 2)
ENCODINGS = {
    "0 and 255": raw.png(MASK),
    "0 and 1": raw.png(BITS.astype(np.uint8)),
    "16 bits, full range": raw.png(MASK.astype(np.uint16) * 257),
    "16 bits, 0 and 255": raw.png(MASK.astype(np.uint16)),
    "16 bits, 0 and 1": raw.png(BITS.astype(np.uint16)),
    "RGB": raw.png(COLOUR),
    "RGB, 0 and 1": raw.png(COLOUR // 255),
    "RGBA, opaque": raw.png(np.dstack([COLOUR, np.full_like(MASK, 255)])),
    "RGBA, cut out": raw.png(np.dstack([np.full_like(COLOUR, 255), MASK])),
    "1 bit": make_png(1, 0, PACKED),
    "palette": make_png(8, 3, BYTES, chunk(b"PLTE", bytes(3) + b"\xff" * 3)),
    "palette, 1 bit": make_png(1, 3, PACKED, chunk(b"PLTE", bytes(3) + b"\xff" * 3)),
    "grey with alpha": make_png(8, 4, [np.dstack([row, np.full_like(row, 255)]).tobytes() for row in MASK]),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_every_encoding_gives_the_same_silhouette(name: str) -> None:
    image, picture = decode_silhouette(ENCODINGS[name]), decode_picture(ENCODINGS[name])
    assert image.dtype == picture.dtype == np.uint8
    np.testing.assert_array_equal(image, MASK)
    np.testing.assert_array_equal(picture > 0, MASK > 0)


def encode(suffix: str, image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1].tobytes())


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tiff"])
def test_other_formats(suffix: str) -> None:
    photograph = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for image in (MASK, COLOUR):
        content = encode(suffix, image)
        assert np.abs(decode_picture(content).astype(int) - MASK).max() < 40
        assert np.abs(decode_silhouette(content).astype(int) - MASK).max() < 40
    assert decode_picture(encode(suffix, photograph)).shape == (30, 40, 3)
    for size in (10, len(content) // 2, len(content) - 1):
        with pytest.raises(ImageError, match="damaged"):
            decode_picture(content[:size])


def test_unsupported_and_16_bit_tiffs() -> None:
    done, content = cv2.imencodemulti(".tiff", [MASK, MASK])
    assert done
    with pytest.raises(ImageError, match="several pages"):
        decode_picture(content.tobytes())
    with pytest.raises(ImageError, match="float32"):
        decode_picture(encode(".tiff", MASK.astype(np.float32)))
    np.testing.assert_array_equal(decode_picture(encode(".tiff", MASK.astype(np.uint16) * 257)), MASK)


def test_grey_levels_are_kept() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode_silhouette(raw.png(grey)), grey)
    np.testing.assert_array_equal(decode_silhouette(raw.png(grey.astype(np.uint16) * 257)), grey)
    np.testing.assert_array_equal(decode_silhouette(raw.png(np.repeat(grey[:, :, None], 3, 2))), grey)


COMPLETE = raw.png(MASK)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"P5 1 1 255\n0", "not a PNG, JPEG, BMP or TIFF"),
        (COMPLETE[:8], "damaged"),
        (COMPLETE[: len(COMPLETE) // 2], "damaged"),
        (COMPLETE[:-12], "damaged"),
        (COMPLETE[:60] + bytes([COMPLETE[60] ^ 1]) + COMPLETE[61:], "damaged"),
        (make_png(8, 0, [bytes(10)], shape=(60000, 60000)), "too large"),
        (make_png(8, 0, [bytes(50)] * 60).replace(b"IHDR", b"iHDR"), "damaged"),
    ],
)
def test_errors(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=f"^{reason}$"):
        decode_silhouette(content)
