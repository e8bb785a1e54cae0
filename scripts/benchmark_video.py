"""Measure the speed of `dygait silhouettes` and `dygait identify` on a video, and the memory of long videos.

    python scripts/benchmark_video.py                        # two minutes of synthetic video
    python scripts/benchmark_video.py --minutes 60           # an hour of video, by repeating the file
    python scripts/benchmark_video.py --video walkers.mp4    # another video
    python scripts/benchmark_video.py --quick                # ten seconds, to check that it runs
    python scripts/benchmark_video.py --json FILE            # {"ratios": ..., "details": ..., "environment": ...}

The synthetic video is that of `dygait synth --video`: 640x480, 25 frames a second, up to three people at a time. The
segmenter is `background`, and every track is searched for among ten people with the pretrained weights (`--weights`).
Times are wall-clock times; they include decoding, but not learning the background.

The ratio `silhouettes` is the duration of the frames at 60 a second over the time of segmentation and tracking;
`identify` is their duration at 25 a second over the time of everything; `identify_three` is the same for a frame with
three people: its segmentation, and three times the time to identify a frame of a track. A ratio of 1 or more is real
time. Memory is the resident memory of the process after each round of the file; the first round allocates buffers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common import resident_memory, write_figures
from dygait import cli
from dygait.data.stores import open_store
from dygait.identification import Gallery
from dygait.video import tracks
from dygait.video.pipeline import Seen
from dygait.video.sources import Frame, VideoSource

SILHOUETTES, REAL_TIME = 60, 25  # frames a second
PEOPLE = "syngait://quick?seed=5&train_ids=0&test_ids=10&people.walks=1,0,0"


class Rounds(VideoSource):
    """A video file that is repeated until it has given a number of frames, with the memory after each round."""

    memory: list[float]
    min_frames = 1

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of as many rounds as give `min_frames`, at least one."""
        index, start, self.memory = 0, 0.0, []
        while index < self.min_frames:
            for frame in super().frames():
                yield replace(frame, index=index, time=start + frame.time)
                index += 1
            start = index / self.rate
            self.memory.append(resident_memory(["self"]))


@dataclass
class Times:
    """The times of a video.

    Attributes:
        by_people: seconds of each frame, without identification, by the number of people in it.
        identification: seconds of all searches.
        track_frames: frames of all tracks.
        tracks: number of tracks.
    """

    by_people: dict[int, list[float]] = field(default_factory=dict)
    identification: float = 0.0
    track_frames: int = 0
    tracks: int = 0

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(map(len, self.by_people.values()))

    @property
    def segmentation(self) -> float:
        """Seconds of all frames, without identification."""
        return sum(map(sum, self.by_people.values()))


def measure(source: Rounds, gallery: Gallery) -> Times:
    """Segment a source and search for every track."""
    times, clock = Times(), 0.0

    def observe(frame: Frame, people: list[Seen]) -> None:
        nonlocal clock
        now = time.perf_counter()
        if clock:  # not the first frame, before which the background is learnt
            times.by_people.setdefault(len(people), []).append(now - clock)
        clock = now

    for track in tracks(source, observe=observe):
        start = time.perf_counter()
        gallery.identify([track.frames])
        seconds = time.perf_counter() - start
        times.identification += seconds
        clock += seconds
        times.track_frames += len(track.frames)
        times.tracks += 1
    return times


def figures_of(times: Times, source: Rounds) -> dict[str, Any]:
    """Return the ratios and details."""
    per_frame = times.segmentation / times.frames
    per_track_frame = times.identification / max(times.track_frames, 1)
    ratios = {
        "silhouettes": 1 / SILHOUETTES / per_frame,
        "identify": times.frames / REAL_TIME / (times.segmentation + times.identification),
    }
    if three := times.by_people.get(3):
        ratios["identify_three"] = 1 / REAL_TIME / (sum(three) / len(three) + 3 * per_track_frame)
    details = {
        "frames": times.frames,
        "tracks": times.tracks,
        "ms of a frame": 1000 * per_frame,
        "ms of a frame by people": {n: 1000 * sum(s) / len(s) for n, s in sorted(times.by_people.items())},
        "ms to identify a frame of a person": 1000 * per_track_frame,
        "memory after each round, MB": [round(megabytes) for megabytes in source.memory],
    }
    return {"ratios": {name: round(value, 2) for name, value in ratios.items()}, "details": details}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser("benchmark_video.py", description="From a video to silhouettes and names.")
    parser.add_argument("--video", type=Path, metavar="FILE", help="default: a synthetic one")
    parser.add_argument("--minutes", type=float, metavar="N", help="repeat the file for N minutes (default: once)")
    parser.add_argument("--weights", default="syngait/small", help="as for `dygait identify` (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="ten seconds, to check that it runs")
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
            source.min_frames = round(60 * options.minutes * source.rate)
        figures = figures_of(measure(source, gallery), source)
    for name, value in {**figures["ratios"], **figures["details"]}.items():
        print(f"{name}: {value}")
    write_figures(options.json, figures, video=video.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
