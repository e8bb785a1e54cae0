"""`dygait heatmaps`: draw 2-D key points as heat maps of limbs and joints."""

from __future__ import annotations

import argparse
from pathlib import Path

from dygait.commands.messages import INCOMPLETE, warn
from dygait.machine import available_cores

HELP = "draw 2-D key points as heat maps of limbs and joints"

_MAX_WARNINGS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw the heat maps that SkeletonGait takes, from 2-D key points in DIR/<id>/<type>/<view>/: .pkl, .npy or "
        ".json, COCO's 17 or OpenPose's 18. The same command continues an interrupted run. See docs/heatmaps.md."
    )
    parser.epilog = "Exit code 0: everything was used; 3: something could not be used; 2: invalid input."
    parser.add_argument("--input", type=Path, required=True, metavar="DIR", help="folder of key points")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--silhouettes",
        metavar="DIR",
        help="prepared silhouettes of the same frames, copied next to the heat maps, for models that take both",
    )
    parser.add_argument(
        "--files",
        default="*",
        metavar="PATTERN",
        help="names of the key point files; the first match in each folder is used (SUSTech1K: '03*')",
    )
    parser.add_argument(
        "--format", choices=("pickle", "store"), default="pickle", help="as for `dygait prepare` (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: all, %(default)s)")


def main(arguments: argparse.Namespace) -> int:
    """Write the heat maps; the exit code is `INCOMPLETE` if something could not be used."""
    from dygait.preprocess.heatmaps import write_heat_maps

    result = write_heat_maps(
        arguments.input,
        arguments.output,
        arguments.silhouettes,
        format=arguments.format,
        pattern=arguments.files,
        workers=arguments.workers,
    )
    print(f"heat maps: {result.sequences} sequences written, {result.frames} frames; data root {arguments.output}")
    for line in result.lost[:_MAX_WARNINGS]:
        warn(line)
    if len(result.lost) > _MAX_WARNINGS:
        warn(f"and {len(result.lost) - _MAX_WARNINGS} more sequences")
    return INCOMPLETE if result.lost else 0
