"""The folder that `dygait silhouettes` writes.

Files::

    <output>/<source>-<number>/<source>/<number>/<number>.pkl    uint8 (S, 64, 64); each track is an id
    <output>/tracks.json                                         boxes, times and quality of every track
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from dygait import __version__
from dygait.data.sequences import check_name
from dygait.data.stores.pickles import PickleTreeWriter
from dygait.errors import UserError
from dygait.files import write_errors
from dygait.video.options import Options
from dygait.video.sources import Source
from dygait.video.track import Track

TRACKS = "tracks.json"


class SilhouetteFolder:
    """Writes tracks to a temporary folder, which is renamed when the `with` block ends without an exception.

    Args:
        output: the folder; it must not exist, or must be empty.
        segmenter: name or file of the segmenter.
        keep_all: write the sequences of tracks with problems, too.

    Raises:
        UserError: the folder is not empty, or cannot be written.
    """

    def __init__(self, output: Path, options: Options, segmenter: str, keep_all: bool = False) -> None:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"--output {output}: not empty; give a new folder, or delete this one")
        self.counts: Counter[str] = Counter()
        self._output = output
        self._temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
        self._writer = PickleTreeWriter(self._temporary)
        self._keep_all = keep_all
        settings = {**dataclasses.asdict(options), "segmenter": segmenter, "keep_all": keep_all}
        self._head = {"made_by": f"DyGait {__version__}", "settings": settings}
        self._sources: list[dict[str, Any]] = []

    def __enter__(self) -> SilhouetteFolder:
        with write_errors(f"--output {self._output}"):
            self._temporary.mkdir(parents=True)
            # One line for each track, written when the track ends: a long video has many.
            self._lines = (self._temporary / TRACKS).open("w", encoding="utf-8")
            head = json.dumps(self._head, indent=1).removesuffix("\n}")
            self._lines.write(f'{head},\n "tracks": [')
        return self

    def add(self, track: Track) -> None:
        """Write a track, and its sequence if it is usable or `keep_all` is set."""
        number = f"{track.number:03d}"
        name = f"{track.source}-{number}"
        is_written = (track.usable or self._keep_all) and len(track.frames) > 0
        content = {
            "source": track.source,
            "number": track.number,
            "sequence": f"{name}/{track.source}/{number}/{number}.pkl" if is_written else None,
            "usable": track.usable,
            "problems": track.problems,
            "frames_in_use": len(track.frames),
            "start": round(float(track.times[0]), 3),
            "end": round(float(track.times[-1]), 3),
            "ended": track.end,
            "measures": {key: round(value, 4) for key, value in track.measures.items()},
            "frames": track.indices.tolist(),
            "times": [round(float(time), 3) for time in track.times],
            "boxes": track.boxes.tolist(),
            "flaws": track.flaws,
        }
        with write_errors(f"--output {self._output}"):
            if is_written:
                self._writer.write(name, track.source, number, track.frames)
            separator = ",\n  " if self.counts["tracks"] else "\n  "
            self._lines.write(separator + json.dumps(content))
        frames = len(track.frames) if is_written else 0
        self.counts.update(tracks=1, marked=int(not track.usable), sequences=int(is_written), frames=frames)

    def close_source(self, source: Source, notices: list[str]) -> None:
        """Record a source and the notices about it."""
        content = {"name": source.name, "address": source.address, "frames_per_second": source.rate, "notices": notices}
        self._sources.append(content)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with write_errors(f"--output {self._output}"), self._lines:
                self._lines.write(f'\n ],\n "sources": {json.dumps(self._sources, indent=1)}\n}}\n')
            if kind is None:
                with write_errors(f"--output {self._output}"):
                    self._temporary.replace(self._output)  # even if that is an empty folder
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)


def unique_names(names: list[str]) -> list[str]:
    """Return names of sources, made unique by a number; UserError if one cannot be the name of a folder."""
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        check_name(name, name)
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return unique
