"""The folder that `dygait silhouettes` fills.

Files::

    <output>/<source>-<number>/<source>/<number>/<number>.pkl    uint8 (S, 64, 64); each track is an id
    <output>/tracks.json                                         every track: where, when, and how good
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
    """Writes tracks under a temporary name, which becomes the folder when the `with` block ends without an exception.

    Args:
        output: the folder; it must not exist, or be empty.
        segmenter: its name or file.
        keep_all: write the sequences of tracks with problems, too.

    Raises:
        UserError: the folder has content, or cannot be written.
    """

    def __init__(self, output: Path, options: Options, segmenter: str, keep_all: bool = False) -> None:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise UserError(f"--output {output}: not empty; give a new folder, or delete this one")
        self.counts: Counter[str] = Counter()
        self._output = output
        self._part = output.with_name(f".{output.name}.{os.getpid()}.part")
        self._writer = PickleTreeWriter(self._part)
        self._keep_all = keep_all
        settings = {**dataclasses.asdict(options), "segmenter": segmenter, "keep_all": keep_all}
        self._head = {"made_by": f"DyGait {__version__}", "settings": settings}
        self._sources: list[dict[str, Any]] = []

    def __enter__(self) -> SilhouetteFolder:
        with write_errors(f"--output {self._output}"):
            self._part.mkdir(parents=True)
            # One line for each track, written when it ends: a long video has many.
            self._lines = (self._part / TRACKS).open("w", encoding="utf-8")
            head = json.dumps(self._head, indent=1).removesuffix("\n}")
            self._lines.write(f'{head},\n "tracks": [')
        return self

    def add(self, track: Track) -> None:
        """Write a track, and its sequence if it is usable or all are kept."""
        number = f"{track.number:03d}"
        name = f"{track.source}-{number}"
        written = (track.usable or self._keep_all) and len(track.frames) > 0
        content = {
            "source": track.source,
            "number": track.number,
            "sequence": f"{name}/{track.source}/{number}/{number}.pkl" if written else None,
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
            if written:
                self._writer.write(name, track.source, number, track.frames)
            separator = ",\n  " if self.counts["tracks"] else "\n  "
            self._lines.write(separator + json.dumps(content))
        frames = len(track.frames) if written else 0
        self.counts.update(tracks=1, marked=int(not track.usable), sequences=int(written), frames=frames)

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
                    self._part.replace(self._output)  # also of an empty folder
        finally:
            shutil.rmtree(self._part, ignore_errors=True)


def unique_names(names: list[str]) -> list[str]:
    """Return names of sources of which no two are the same, and which can be those of folders."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        check_name(name, name)
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return unique
