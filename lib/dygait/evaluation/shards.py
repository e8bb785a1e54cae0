"""Shards: intermediate results of an extraction on disk, from which an interrupted extraction resumes.

Every process periodically writes its finished batches to a shard, ``<number>.npz``, where the number is that of its
first batch. A shard has the key of its extraction, a hash of everything that the features depend on; the zip archive
has a checksum of every array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dygait.errors import UserError
from dygait.evaluation.features import Rows
from dygait.files import replacing, write_errors

LOCK = ".lock"
"""The lock file of a folder of shards in use."""


class Shards:
    """The shards in a folder of the extraction with this key."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def path(self, name: str) -> Path:
        """Return the file of a shard."""
        return self._folder / f"{name}.npz"

    def write(self, batches: Sequence[int], rows: Rows) -> str:
        """Write the features of batches, and return the name of the shard; UserError if it cannot be written."""
        name = f"{batches[0]:06d}"
        arrays = {field: array for field, array in rows._asdict().items() if array is not None}
        with write_errors(self._folder), replacing(self.path(name)) as file:
            np.savez(file, key=np.array(self._key), batches=np.array(batches), **arrays)
        return name

    def read(self, name: str) -> tuple[list[int], Rows]:
        """Return the batches of a shard and their features.

        Raises:
            UserError: the shard is damaged, or belongs to another extraction.
        """
        path = self.path(name)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            key, batches, rows = str(arrays.pop("key")), arrays.pop("batches").tolist(), Rows(**arrays)
        except Exception as error:  # a damaged file can raise anything
            raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from None
        if key != self._key:
            raise UserError(f"{path} belongs to another extraction")
        return batches, rows

    def prune(self, log: Callable[[str], None]) -> dict[str, list[int]]:
        """Delete damaged, unfinished and foreign shards, and return the names of the others with their batches.

        `log` takes a message for each shard that is deleted, with the reason. UserError if a file cannot be deleted.
        """
        valid: dict[str, list[int]] = {}
        for path in sorted(self._folder.glob("[0-9]*.npz")):
            try:
                valid[path.stem], _ = self.read(path.stem)
            except UserError as error:
                log(str(error))
        with write_errors(self._folder):
            for path in self._folder.iterdir():
                if path.name != LOCK and path.stem not in valid:
                    path.unlink()
        return valid
