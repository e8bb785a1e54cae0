"""The journal of a preparation: a line of JSON for each sequence that is done and each archive that is read through.

Lines are only added. A run that was killed may leave half a line at the end; it is taken off, and its sequence is done
again. A later line about the same sequence counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dygait import untrusted
from dygait.errors import UserError
from dygait.preprocess.jobs import NOBODY
from dygait.preprocess.layout import Key

NAME = "prepare_journal.jsonl"


@dataclass(frozen=True)
class Outcome:
    """What became of a sequence: how many frames were written, and which pictures were left out and why."""

    frames: int
    skipped: tuple[tuple[str, str], ...]
    source: str

    @property
    def lost(self) -> bool:
        """Tell whether anything is missing that the input seemed to hold."""
        return not self.frames or any(reason != NOBODY for _, reason in self.skipped)


class Journal:
    """Outcomes by sequence, on disk as they come in.

    Attributes:
        outcomes: the last outcome of each sequence.
        archives: archives read to their end, as (name, size), with the pictures in them that fit no rule.

    Raises:
        UserError: the file is damaged elsewhere than in its last line.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.outcomes: dict[Key, Outcome] = {}
        self.archives: dict[tuple[str, int], tuple[str, ...]] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                self._take(untrusted.parse_json(line))
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
                raise UserError(
                    f"{self._path}, line {number} is damaged: delete this file and run the same command; everything is "
                    "then made again"
                ) from None
        self._file = self._path.open("ab")
        if len(whole) != len(content):
            self._file.truncate(len(whole))

    def add_sequence(self, key: Key, outcome: Outcome) -> None:
        """Note what became of a sequence; nothing is written if that is known already.

        Raises:
            OSError: the line could not be written.
        """
        if self.outcomes.get(key) == outcome:
            return
        skipped = [list(pair) for pair in outcome.skipped]
        self._add({"sequence": list(key), "frames": outcome.frames, "skipped": skipped, "source": outcome.source})

    def add_archive(self, name: str, size: int, unmatched: tuple[str, ...]) -> None:
        """Note that an archive is read through.

        Raises:
            OSError: the line could not be written.
        """
        if self.archives.get((name, size)) != unmatched:
            self._add({"archive": name, "size": size, "unmatched": list(unmatched)})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "sequence" in line:
            id, type, view = line["sequence"]
            if not isinstance(id, str) or not isinstance(type, str) or not isinstance(view, str):
                raise ValueError("names that are none")
            skipped = tuple((name, reason) for name, reason in line["skipped"])
            self.outcomes[Key(id, type, view)] = Outcome(int(line["frames"]), skipped, line["source"])
        else:
            self.archives[line["archive"], int(line["size"])] = tuple(line["unmatched"])
