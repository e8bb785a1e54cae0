"""``dygait synth``: generate SynGait, or a contact strip of it."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dygait.errors import UserError
from dygait.machine import available_cores

if TYPE_CHECKING:
    from dygait.synthetic.settings import Settings

HELP = "generate SynGait, the synthetic dataset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Generate SynGait: silhouettes of synthetic walkers seen by 11 cameras, in the layout of CASIA-B. The same "
        "command continues an interrupted run."
    )
    parser.add_argument(
        "--preset",
        choices=("quick", "full", "wild"),
        default="quick",
        help="quick and full differ in size; wild varies every property widely (default: %(default)s)",
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE.yaml", help="knobs as in data_cfg.syngait, instead of the preset's"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder to fill; needed unless only --strip or --video is wanted"
    )
    parser.add_argument(
        "--format", choices=("pickle", "png"), default="pickle", help="64x64 frames, or raw 320x240 pictures"
    )
    parser.add_argument(
        "--heatmaps", action="store_true", help="write heat maps of the key points too: 0_heatmap.pkl next to 1_sil.pkl"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other subjects (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: all, %(default)s)")
    parser.add_argument("--train-ids", type=int, metavar="N", help="training ids, instead of the preset's")
    parser.add_argument("--test-ids", type=int, metavar="N", help="test ids, instead of the preset's")
    parser.add_argument(
        "--frames", type=int, nargs=2, metavar=("MIN", "MAX"), help="frames of a sequence, instead of the preset's"
    )
    parser.add_argument("--only", choices=("all", "train", "test"), default="all", help="write only the ids of one set")
    parser.add_argument("--strip", type=Path, metavar="FILE.png", help="draw a contact strip of the data")
    parser.add_argument(
        "--video", type=Path, metavar="FILE.mp4", help="render a video of ten ids, with their boxes in FILE.mp4.json"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the video (default: %(default)g)")


def main(args: argparse.Namespace) -> None:
    if args.output is None and args.strip is None and args.video is None:
        raise UserError("--output is missing: name the folder to fill, such as --output datasets/SynGait/data")
    from dygait.synthetic.generate import generate
    from dygait.synthetic.settings import PRESETS

    changes = {"train_ids": args.train_ids, "test_ids": args.test_ids, "frames": args.frames and tuple(args.frames)}
    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {"seed": args.seed, "format": args.format, "heatmaps": args.heatmaps}
    settings = dataclasses.replace(PRESETS[args.preset], **changes)
    if args.settings is not None:
        settings = _with_file(settings, args.settings)
    if args.strip is not None:
        from dygait.synthetic.strip import save_strip

        save_strip(args.strip, settings)
        print(f"strip: {args.strip}")
    if args.video is not None:
        _save_video(settings, args.video, args.seconds)
    if args.output is not None:
        start = time.monotonic()
        written = generate(args.output, settings, args.workers, args.only)
        print(
            f"SynGait: {written} sequences written in {time.monotonic() - start:.0f} s; data root {args.output}, "
            f"partition {args.output / 'SynGait.json'}"
        )


def _save_video(settings: Settings, path: Path, seconds: float) -> None:
    """Write a video of the first ten test ids."""
    from dygait.synthetic.video import plan_scene, write_video

    if not 10 <= seconds <= 3600:
        raise UserError(f"--seconds {seconds:g}: give 10 to 3600")
    subjects = settings.subjects[settings.train_ids :][:10]
    truth = write_video(path, plan_scene(subjects, settings.types, seconds, settings.seed, world=settings.world))
    print(f"video: {path}, {truth['frames']} frames, {len(truth['people'])} walks; who is where: {path}.json")


def _with_file(settings: Settings, path: Path) -> Settings:
    """Return settings with the knobs of a YAML file."""
    from dygait.config.load import read_yaml

    try:
        return settings.with_knobs(read_yaml(path))
    except UserError as error:
        raise UserError(f"--settings {path}: {error}") from None
