"""How fast is a video turned into silhouettes, and into names, and does the memory of long ones grow?

    python scripts/benchmark_video.py                        # two minutes of video, made first
    python scripts/benchmark_video.py --minutes 60           # the same file again and again, for an hour of video
    python scripts/benchmark_video.py --video walkers.mp4    # a video of your own
    python scripts/benchmark_video.py --quick                # ten seconds of it, to see that it runs
    python scripts/benchmark_video.py --json FILE            # {"ratios": ..., "details": ..., "environment": ...}

The video is that of `dygait synth --video`: 640x480, 25 frames a second, up to three people at a time. It is segmented
by `background`, and every track is searched for among ten people by the weights that ship (`--weights`). Times are by
the clock, decoding included, learning the background excluded.

`silhouettes` is the time that the frames last at 60 a second over that of segmenting and following, `identify` the
time that they last at 25 a second over that of everything. `identify_three` is the same of a frame with three people in
it: its segmentation, and three times what a frame of a person's track costs to be identified. At 1 or more, the work
keeps up. Memory is the process's own, after each round of the file; the first round fills buffers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common import write_figures
from dygait import cli
from dygait.data.stores import open_store
from dygait.identification import Gallery
from dygait.video import tracks
from dygait.video.pipeline import Seen
from dygait.video.sources import Frame, VideoSource

SILHOUETTES, REAL_TIME = 60, 25  # frames a second
PEOPLE = "syngait://quick?seed=5&train_ids=0&test_ids=10&people.walks=1,0,0"


class Rounds(VideoSource):
    """A video file that starts again when it ends, for a number of frames; and the memory after each round."""

    memory: list[float]
    wanted: int | None = None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of as many rounds as have the wanted number; of one if none is wanted."""
        index, start, self.memory = 0, 0.0, []
        while self.wanted is None or index < self.wanted:
            for frame in super().frames():
                yield replace(frame, index=index, time=start + frame.time)
                index += 1
            start = index / self.rate
            self.memory.append(resident())
            if self.wanted is None:
                break


def resident() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass
class Times:
    """What was measured.

    Attributes:
        of_frames: seconds of each frame, by the number of people in it.
        identifying: seconds of all searches.
        searched: frames of the tracks that were searched for.
        tracks: their number.
    """

    of_frames: dict[int, list[float]] = field(default_factory=dict)
    identifying: float = 0.0
    searched: int = 0
    tracks: int = 0

    @property
    def frames(self) -> int:
        """How many frames there were."""
        return sum(map(len, self.of_frames.values()))

    @property
    def segmenting(self) -> float:
        """Seconds of all frames, without searches."""
        return sum(map(sum, self.of_frames.values()))


def measure(source: Rounds, gallery: Gallery) -> Times:
    """Segment a source and search for every track."""
    found, clock = Times(), 0.0

    def observe(frame: Frame, seen: list[Seen]) -> None:
        nonlocal clock
        now = time.perf_counter()
        if clock:  # else the first frame, before which the background was learnt
            found.of_frames.setdefault(len(seen), []).append(now - clock)
        clock = now

    for track in tracks(source, observe=observe):
        start = time.perf_counter()
        gallery.identify([track.frames])
        took = time.perf_counter() - start
        found.identifying += took
        clock += took
        found.searched += len(track.frames)
        found.tracks += 1
    return found


def figures_of(times: Times, source: Rounds) -> dict[str, Any]:
    """Return the ratios, and what they are made of."""
    per_frame = times.segmenting / times.frames
    of_person = times.identifying / max(times.searched, 1)
    ratios = {
        "silhouettes": 1 / SILHOUETTES / per_frame,
        "identify": times.frames / REAL_TIME / (times.segmenting + times.identifying),
    }
    if three := times.of_frames.get(3):
        ratios["identify_three"] = 1 / REAL_TIME / (sum(three) / len(three) + 3 * of_person)
    details = {
        "frames": times.frames,
        "tracks": times.tracks,
        "ms of a frame": 1000 * per_frame,
        "ms of a frame by people": {n: 1000 * sum(own) / len(own) for n, own in sorted(times.of_frames.items())},
        "ms to identify a frame of a person": 1000 * of_person,
        "memory after each round, MB": [round(own) for own in source.memory],
    }
    return {"ratios": {name: round(value, 2) for name, value in ratios.items()}, "details": details}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser("benchmark_video.py", description="From a video to silhouettes and names.")
    parser.add_argument("--video", type=Path, metavar="FILE", help="default: one that is made")
    parser.add_argument("--minutes", type=float, metavar="N", help="of video, by repeating the file (default: once)")
    parser.add_argument("--weights", default="syngait", help="as of `dygait identify` (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="ten seconds, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        video = options.video
        if video is None:
            video = Path(folder, "walkers.mp4")
            seconds = "10" if options.quick else "120"
            cli.main(["synth", "--video", str(video), "--seconds", seconds, "--seed", "1"])
        gallery = Gallery.open(Path(folder, "people"), options.weights)
        people = open_store(PEOPLE)
        for number, person in enumerate(people.table.ids.names):
            gallery.enroll(f"person {number}", [people.read(n) for n in people.table.indices([person])[:2].tolist()])
        source = Rounds(video, None)
        if options.minutes is not None:
            source.wanted = round(60 * options.minutes * source.rate)
        found = figures_of(measure(source, gallery), source)
    for name, value in {**found["ratios"], **found["details"]}.items():
        print(f"{name}: {value}")
    write_figures(options.json, found, video=video.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
