"""What a pickle holds besides its frames, so that a pickle can be made again to the byte.

A pickle of an array is a few instructions around the array's bytes. The envelope is what is left when the frames are
taken out: the pieces before, between and after them. Where the frames do not lie in the file as they are (an old
protocol escapes some bytes), the envelope is the whole file, compressed.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_WHOLE, _BY_FRAME, _FILE = 0, 1, 2
_HEAD = struct.Struct("<BQI")  # form, bytes of the file, number of pieces


def seal(content: bytes, frames: np.ndarray) -> bytes:
    """Return the envelope of a file's bytes around its frames, uint8 (S, H, W)."""
    for form, parts in ((_WHOLE, [frames.tobytes()]), (_BY_FRAME, [frame.tobytes() for frame in frames])):
        pieces = _around(content, parts)
        if pieces is not None:
            lengths = struct.pack(f"<{len(pieces)}I", *map(len, pieces))
            return _HEAD.pack(form, len(content), len(pieces)) + zlib.compress(lengths + b"".join(pieces))
    return _HEAD.pack(_FILE, len(content), 0) + zlib.compress(content)


def unseal(envelope: bytes, frames: np.ndarray) -> bytes:
    """Return the file's bytes; the opposite of `seal`.

    Raises:
        ValueError: this is no envelope of these frames.
    """
    try:
        form, size, count = _HEAD.unpack_from(envelope)
        if size > 16 * frames.nbytes + 2**20:
            raise ValueError("it claims a file far larger than its frames")
        # Never more than the file can need, whatever the bytes say.
        opened = zlib.decompressobj()
        inside = opened.decompress(envelope[_HEAD.size :], size + 4 * count + 1)
        if not opened.eof:
            raise ValueError("it is cut off, or holds more than it says")
        if form == _FILE:
            content = inside
        else:
            parts = [frames.tobytes()] if form == _WHOLE else [frame.tobytes() for frame in frames]
            lengths = struct.unpack_from(f"<{count}I", inside)
            if count != len(parts) + 1 or 4 * count + sum(lengths) != len(inside):
                raise ValueError("its pieces do not fit its frames")
            content, start = b"", 4 * count
            joined = []
            for length, part in zip(lengths, [*parts, b""], strict=True):
                joined += [inside[start : start + length], part]
                start += length
            content = b"".join(joined)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from None
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes come out of it where the file had {size}")
    return content


def _around(content: bytes, parts: list[bytes]) -> list[bytes] | None:
    """Return the pieces of `content` around `parts`, which lie in it in this order; None where they do not."""
    pieces, start = [], 0
    for part in parts:
        found = content.find(part, start)
        if found < 0:
            return None
        pieces.append(content[start:found])
        start = found + len(part)
    return [*pieces, content[start:]]
