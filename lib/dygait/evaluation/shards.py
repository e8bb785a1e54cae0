"""Shards: intermediate results of an extraction on disk, from which an interrupted extraction resumes.

Every process periodically writes its finished batches to a shard: ``<number>.json``, written last, and an ``.npy`` file
for each array, where the number is that of its first batch. A shard has the key of its extraction, a hash of everything
that the features depend on, and a checksum of its content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dygait import untrusted
from dygait.errors import UserError
from dygait.evaluation.features import Rows, checksum_of_array, checksum_of_json
from dygait.files import replacing, write_errors

_FORMAT = "dygait-shard"


class Shards:
    """The shards in a folder of the extraction with this key."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def write(self, batches: Sequence[int], rows: Rows) -> str:
        """Write the features of batches, and return the name of the shard; UserError if it cannot be written."""
        name = f"{batches[0]:06d}"
        head = {
            "format": _FORMAT,
            "key": self._key,
            "batches": list(batches),
            "places": rows.indices.tolist(),
            "lengths": rows.lengths.tolist(),
            "arrays": list(rows.arrays),
        }
        content = {**head, "checksum": _checksum(head, rows)}
        with write_errors(self._folder):
            for array, values in rows.arrays.items():
                with replacing(self._folder / f"{name}.{array}") as file:
                    np.save(file, values, allow_pickle=False)
            with replacing(self._folder / f"{name}.json") as file:
                file.write(json.dumps(content).encode())
        return name

    def read(self, name: str) -> tuple[list[int], Rows]:
        """Return the batches of a shard and their features.

        Raises:
            UserError: the shard is damaged, or belongs to another extraction.
        """
        path = self._folder / f"{name}.json"
        try:
            head = untrusted.parse_json(untrusted.read_bytes(path))
            if head["key"] != self._key:
                raise UserError(f"{path} belongs to another extraction")
            checksum = head.pop("checksum")
            arrays = [np.load(self._folder / f"{name}.{array}", allow_pickle=False) for array in head["arrays"]]
            rows = Rows(np.array(head["places"], np.int64), np.array(head["lengths"], np.int64), *arrays)
            if _checksum(head, rows) != checksum:
                raise ValueError("it does not match its checksum")
        except UserError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from None
        return head["batches"], rows

    def prune(self, log: Callable[[str], None]) -> dict[str, list[int]]:
        """Delete damaged, unfinished and foreign shards, and return the names of the others with their batches.

        `log` takes a message for each shard that is deleted, with the reason. UserError if a file cannot be deleted.
        """
        kept: dict[str, list[int]] = {}
        for path in sorted(self._folder.glob("[0-9]*.json")):
            try:
                kept[path.stem], _ = self.read(path.stem)
            except UserError as error:
                log(str(error))
        with write_errors(self._folder):
            for path in self._folder.iterdir():
                if path.name != LOCK and path.name.partition(".")[0] not in kept:
                    path.unlink()
        return kept


LOCK = ".lock"
"""The lock file of a folder of shards in use."""


def _checksum(head: Any, rows: Rows) -> int:
    found = checksum_of_json(head)
    for array in rows.arrays.values():
        found = checksum_of_array(array, found)
    return found
