"""The format of a packed store (docs/data.md): large files of frames, an index, names, and a manifest of these files.

Frames are only appended, beyond the sizes in the manifest; index and names are written to new files, with the next
number; the manifest is replaced last, atomically. If a writer is interrupted, readers see the previous state. Nothing
is unpickled.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

MANIFEST = "store.json"
FORMAT = "dygait-store"
VERSION = 3
NAMES = ("id", "type", "view", "name")
NUMBERS = ("shard", "frames", "height", "width", "offset", "checksum", "channels")
ROW = np.dtype([(field, "<u8" if field == "offset" else "<u4") for field in (*NAMES, *NUMBERS)])
_ROW_2 = np.dtype(ROW.descr[:-1])
ROWS = {1: np.dtype([*_ROW_2.descr, ("envelope_size", "<u4"), ("envelope", "<u8")]), 2: _ROW_2, VERSION: ROW}
"""Row types by version. Version 1 stored the remaining bytes of pickles in envelopes.bin, which are not read. Version 3
added the number of channels, which is 0 for frames (H, W)."""

SHARD_BYTES = 2**31
"""The maximum size of a file of frames."""

Size = Annotated[int, Field(ge=0, le=2**63)]


class Manifest(BaseModel):
    """The content of `store.json`.

    Attributes:
        version: a key of `ROWS`.
        generation: the number in the file names of index and names.
        files: the number of rows of the index.
        geometries: the distinct [H, W], sorted.
        fingerprint: a hash of the content.
        source: a description of the data's source.
        shards: the size of each file of frames, at most `shard_bytes`.
        checksums: CRC-32 of index and names.
    """

    model_config = ConfigDict(strict=True)

    format: str = FORMAT
    version: int = VERSION
    generation: Size
    files: Size
    frames: Size
    geometries: list[list[int]]
    fingerprint: str
    source: str
    shards: list[Size]
    shard_bytes: int = SHARD_BYTES
    checksums: dict[str, int]

    def file_names(self) -> tuple[str, str]:
        """Return the file names of the index and of the names."""
        return f"index-{self.generation}.npy", f"names-{self.generation}.json"


def shard_name(number: int) -> str:
    """Return the name of a file of frames."""
    return f"frames-{number:05d}.bin"
