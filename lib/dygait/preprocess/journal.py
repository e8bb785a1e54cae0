"""The journal of a preparation: a line of JSON for each prepared sequence and each archive that was read to its end.

Lines are only appended; the last one about a sequence is valid. An incomplete last line of a killed run is removed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from dygait import untrusted
from dygait.errors import UserError
from dygait.preprocess.pictures_to_frames import EMPTY_PICTURE, Remarks
from dygait.preprocess.rules import SequenceName

NAME = "prepare_journal.jsonl"


class Outcome(NamedTuple):
    """The outcome of a sequence: the number of frames written, the skipped pictures as (name, reason), and remarks."""

    frames: int
    skipped: tuple[tuple[str, str], ...]
    source: str
    remarks: Remarks = Remarks({})

    @property
    def lost(self) -> bool:
        """Return whether data of the input was lost."""
        return not self.frames or any(reason != EMPTY_PICTURE for _, reason in self.skipped)


class Journal:
    """Outcomes by sequence, written to disk as they are added.

    Attributes:
        outcomes: the last outcome of each sequence.
        archives: archives read to their end, as (name, size), with their pictures that match no rule.

    Raises:
        UserError: the file is damaged elsewhere than in its last line.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.outcomes: dict[SequenceName, Outcome] = {}
        self.archives: dict[tuple[str, int], tuple[str, ...]] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        complete = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(complete.splitlines(), 1):
            try:
                self._apply(untrusted.parse_json(line))
            except (ValueError, LookupError, TypeError):
                raise UserError(
                    f"{self._path}, line {number} is damaged: delete this file, and prepare everything again"
                ) from None
        self._file = self._path.open("ab")
        if len(complete) != len(content):
            self._file.truncate(len(complete))

    def add_sequence(self, key: SequenceName, outcome: Outcome) -> None:
        """Append the outcome of a sequence."""
        content = {"sequence": list(key), **outcome._asdict(), "remarks": outcome.remarks._asdict()}
        self._append(content)

    def add_archive(self, name: str, size: int, unmatched: tuple[str, ...]) -> None:
        """Append that an archive was read to its end, unless it is recorded already."""
        if self.archives.get((name, size)) != unmatched:
            self._append({"archive": name, "size": size, "unmatched": list(unmatched)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self._apply(line)

    def _apply(self, line: dict[str, Any]) -> None:
        if "sequence" in line:
            skipped = tuple((name, reason) for name, reason in line["skipped"])
            remarks = Remarks(**line.get("remarks", {"cleaned": {}}))  # absent in a journal of an earlier version
            self.outcomes[SequenceName(*line["sequence"])] = Outcome(line["frames"], skipped, line["source"], remarks)
        else:
            self.archives[line["archive"], line["size"]] = tuple(line["unmatched"])
