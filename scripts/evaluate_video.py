"""From a video to a name, before an invented camera whose truth is known.

Fifteen synthetic people: ten are enrolled, each from a video of one walk there and back, five are strangers. Videos of
two minutes show all of them in other walks, with bags and in coats too, alone or up to three at a time: they cross,
stop and turn back. The tracks of `dygait silhouettes` (segmenter `background`) are compared with the true masks, and
searched for in the gallery; so are the true silhouettes of the same people in the same frames, `true masks`. The
gallery is calibrated as `dygait calibrate` does by itself.

    python scripts/evaluate_video.py --weights syngait/small               # three videos: half an hour of one core
    python scripts/evaluate_video.py --videos 1 --json FILE          # {"details": ..., "environment": ...}
    python scripts/evaluate_video.py --quick                         # two people, to see that it runs

Percentages are over usable tracks. IoU is that of normalised silhouettes, allowing a shift by a column, in frames with
one person only.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from common import markdown_table, write_figures
from dygait import cli
from dygait.frames.normalisation import normalise_silhouette
from dygait.identification import Gallery
from dygait.synthetic.gait import FRAMES_PER_SECOND
from dygait.synthetic.video import Appearance, Scene, plan_scene, render, write_video
from dygait.video import Track, tracks
from dygait.video_file import VideoFile

SEED = 77
GROUPS = {"nm-02": "NM", "bg-01": "BG", "cl-01": "CL"}
FPIRS = (0.01, 0.1)
Box = tuple[int, int, int, int]


class Truth(NamedTuple):
    """Of each frame, the box and the normalised silhouette of each appearance, by its number."""

    scene: Scene
    frames: list[dict[int, tuple[Box, np.ndarray]]]

    def appearance(self, number: int) -> Appearance:
        """Return an appearance."""
        return self.scene.appearances[number - 1]


class Judged(NamedTuple):
    """A usable track: its appearance, its frames of others, the true silhouettes, and IoUs while alone."""

    track: Track
    number: int
    others: int
    true_frames: np.ndarray
    ious: list[float]


def film(path: Path, scene: Scene) -> Truth:
    """Write a video, and return who is where in it."""
    frames = []
    with VideoFile(path, FRAMES_PER_SECOND, "mp4v") as file:
        for picture, labels in render(scene):
            file.write(picture)
            people = {}
            for number in np.unique(labels[labels > 0]).tolist():
                mask = (labels == number).view(np.uint8) * np.uint8(255)
                silhouette = normalise_silhouette(mask)
                if silhouette is not None:
                    left, top, width, height = cv2.boundingRect(mask)
                    people[number] = (left, top, width, height), silhouette
            frames.append(people)
    return Truth(scene, frames)


def overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the IoU of two boxes."""
    width, height = (min(one[k] + one[k + 2], other[k] + other[k + 2]) - max(one[k], other[k]) for k in (0, 1))
    shared = max(0, width) * max(0, height)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def iou(frame: np.ndarray, truth: np.ndarray) -> float:
    """Return the IoU of two normalised silhouettes, allowing a shift by a column, which rounding may cause."""
    expected, shifted = truth >= 128, [np.roll(frame, shift, 1) >= 128 for shift in (-1, 0, 1)]
    return max(float((actual & expected).sum() / (actual | expected).sum()) for actual in shifted)


def judge(track: Track, truth: Truth) -> Judged | None:
    """Compare a track with the truth; None if it shows nobody."""
    shown = []  # the number of the person in each used frame; 0: nobody
    for index, box in zip(track.indices[track.used].tolist(), track.boxes[track.used].tolist(), strict=True):
        overlaps = {number: overlap(box, true_box) for number, (true_box, _) in truth.frames[index].items()}
        shown.append(max(overlaps, key=lambda number: overlaps[number]) if any(overlaps.values()) else 0)
    counts = Counter(number for number in shown if number)
    if not counts:
        return None
    number = counts.most_common(1)[0][0]
    ious, true_frames = [], []
    for index, frame in zip(track.indices[track.used].tolist(), track.frames, strict=True):
        if number in truth.frames[index]:
            true_frames.append(truth.frames[index][number][1])
            if len(truth.frames[index]) == 1:
                ious.append(iou(frame, true_frames[-1]))
    return Judged(track, number, len(shown) - counts[number], np.stack(true_frames), ious)


def enrol(gallery: Gallery, subjects: Sequence[int], folder: Path, size: dict[str, int]) -> None:
    """Enrol everybody from a video of one walk, there and back, of a width and height."""
    for subject in subjects:
        path = folder / f"{subject}.mp4"
        walk = Appearance(subject, "nm-01", 1.0, "return", subject % 2 == 0)
        write_video(path, Scene((walk,), 11.0, seed=SEED, **size))
        walks = [track.frames for track in tracks(path) if track.usable]
        if not walks:
            raise SystemExit(f"{path}: no usable track of subject {subject}")
        gallery.enroll(str(subject), walks)


def percent(flags: Sequence[bool]) -> str:
    """Return a share as `percent (count of total)`; empty without any."""
    return f"{100 * sum(flags) / len(flags):.1f} ({sum(flags)} of {len(flags)})" if flags else ""


def identification(
    gallery: Gallery, sequences: Sequence[np.ndarray], people: Sequence[int], groups: Sequence[str]
) -> dict[str, str]:
    """Return rank-1 by group, and the enrolled and strangers who are named, at each rate."""
    known = {int(name) for name in gallery.names}
    by_rate = {rate: gallery.identify(sequences, rate) for rate in FPIRS}
    searched = [n for n, answer in enumerate(by_rate[FPIRS[0]]) if answer.nearest]
    enrolled = [n for n in searched if people[n] in known]
    figures = {
        f"rank-1, {group}": percent(
            [int(by_rate[FPIRS[0]][n].nearest[0].name) == people[n] for n in enrolled if groups[n] == group]
        )
        for group in GROUPS.values()
    }
    for rate, answers in by_rate.items():
        named = [answers[n].name for n in range(len(answers))]
        wanted = f"at {rate:.0%}"
        figures[f"enrolled named correctly, {wanted}"] = percent([named[n] == str(people[n]) for n in enrolled])
        figures[f"strangers named, {wanted}"] = percent(
            [named[n] is not None for n in searched if people[n] not in known]
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser("evaluate_video.py", description="From a video to a name, with known truth.")
    parser.add_argument("--videos", type=int, default=3, metavar="N", help="of two minutes (default: %(default)s)")
    parser.add_argument("--weights", default="syngait/small", help="as for `dygait enroll` (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="two people, to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    people, strangers, seconds, videos = (2, 1, 16.0, 1) if options.quick else (10, 5, 120.0, options.videos)
    size = {"width": 320, "height": 240} if options.quick else {}
    subjects = [*range(1, people + strangers + 1)]
    judged: list[tuple[Truth, Judged]] = []
    appearances = marked = nobody = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gallery = Gallery.open(folder / "people", options.weights)
        enrol(gallery, subjects[:people], folder, size)
        calibration = ["syngait://quick?seed=3&train_ids=0&test_ids=5&people.walks=2,1,1"] if options.quick else []
        arguments = ["calibrate", *calibration, "--gallery", str(folder / "people")]
        if cli.main([*arguments, "--fpir", "0.1" if options.quick else "0.01"]):
            return 1
        for number in range(videos):
            order = np.random.default_rng([SEED, number]).permutation(subjects).tolist()
            kinds = [*GROUPS][number % 3 :] + [*GROUPS][: number % 3]
            scene = dataclasses.replace(plan_scene(order, kinds, seconds, SEED + number, **size), seed=SEED)
            truth = film(folder / "video.mp4", scene)
            found = list(tracks(folder / "video.mp4"))
            compared = [judge(track, truth) for track in found if track.usable]
            judged += [(truth, one) for one in compared if one is not None]
            nobody += sum(one is None for one in compared)
            marked += sum(not track.usable for track in found)
            appearances += len(scene.appearances)
        who = [truth.appearance(one.number) for truth, one in judged]
        names, groups = [one.subject for one in who], [GROUPS[one.kind] for one in who]
        rows = {
            "tracks": identification(gallery, [one.track.frames for _, one in judged], names, groups),
            "true masks": identification(gallery, [one.true_frames for _, one in judged], names, groups),
        }
    alone = [float(np.mean(one.ious)) for _, one in judged if len(one.ious) >= 5]
    counts = {
        "walks": appearances,
        "walks with a usable track": len({(id(truth), one.number) for truth, one in judged}),
        "usable tracks": len(judged),
        "usable tracks of nobody": nobody,
        "marked tracks": marked,
        "usable tracks with frames of a second person": sum(one.others > 0 for _, one in judged),
        "frames of a second person": sum(one.others for _, one in judged),
        "frames in use": sum(len(one.track.frames) for _, one in judged),
        "IoU of lone walkers, mean over tracks": round(float(np.mean(alone)), 3) if alone else None,
        "IoU of lone walkers, worst track": round(min(alone), 3) if alone else None,
    }
    print(markdown_table([[name, value] for name, value in counts.items()], ("", "")))
    lines = [[name, *(row[name] for row in rows.values())] for name in rows["tracks"]]
    print(markdown_table(lines, ("percent", *rows)))
    write_figures(options.json, {"details": {**counts, **rows}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
