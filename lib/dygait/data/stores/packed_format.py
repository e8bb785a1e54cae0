"""How a packed store lies on disk: the frames of a dataset in a few large files, mapped into memory, and an index.

What lies in its folder::

    store.json          the manifest: sizes and checksums of the other files; what it does not name is not there
    frames-00000.bin    frames as they are, uint8, sequence after sequence; the next file when one is full
    index-<n>.npy       a row for each file of a sequence: whose it is, where its frames lie, their checksum
    names-<n>.json      the names of ids, types, views and files, that the index gives by number

Frames are only ever appended, behind what the manifest admits; index and names are written under a new number; and the
manifest, replaced last and in one step, makes the new state the state. So whatever interrupts a writer, a reader finds
what was there before. Nothing of it is ever unpickled.
"""

from __future__ import annotations

import numpy as np

from dygait.errors import UserError

MANIFEST = "store.json"
FORMAT = "dygait-store"
VERSION = 2
ROW = np.dtype(
    [
        ("id", "<u4"),
        ("type", "<u4"),
        ("view", "<u4"),
        ("name", "<u4"),
        ("shard", "<u4"),
        ("frames", "<u4"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("offset", "<u8"),
        ("checksum", "<u4"),
    ]
)
ROWS = {1: np.dtype([*ROW.descr, ("envelope_size", "<u4"), ("envelope", "<u8")]), VERSION: ROW}
"""By version. The first kept, in envelopes.bin, what pickles held besides their frames; it is not read any more."""
NAMES = ("id", "type", "view", "name")
NUMBERS = ("shard", "frames", "height", "width", "offset", "checksum")


def shard_name(number: int) -> str:
    """Return what a file of frames is called."""
    return f"frames-{number:05d}.bin"


def check_name(name: str, label: str) -> None:
    """Refuse what is no plain name of a file or folder, and so could lead out of a folder.

    Raises:
        UserError: it is none.
    """
    plain = isinstance(name, str) and name not in ("", ".", "..") and name.isprintable()
    if not plain or any(c in "/\\" for c in name):
        raise UserError(f"{label}: {name!r} cannot be the name of a file or folder")
