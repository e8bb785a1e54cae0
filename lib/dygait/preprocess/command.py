"""The options of ``dygait prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from dygait.machine import available_cores
from dygait.preprocess.layouts import LAYOUTS

PASSWORD = "DYGAIT_PASSWORD"
"""The environment variable that holds the password of encrypted archives."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``dygait prepare`` (imports nothing heavy)."""
    parser.description = (
        "Turn a dataset as it was downloaded, archives or folders, into normalised sequences that DyGait reads. "
        "An interrupted run is continued by the same command."
    )
    parser.epilog = (
        "Exit code 0: nothing was lost; 3: something could not be used, and prepare_report.txt in the output folder "
        "says what; 2: a mistake in the input, explained in a line."
    )
    parser.add_argument("dataset", type=_dataset, choices=tuple(LAYOUTS), help=f"one of {', '.join(LAYOUTS)}")
    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, metavar="PATH", help="archives as downloaded, or folders"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--format",
        choices=("pickle", "store"),
        default="pickle",
        help="<id>/<type>/<view>/<view>.pkl, or a packed store, which trains faster (default: %(default)s)",
    )
    parser.add_argument(
        "--password",
        nargs="?",
        const=True,
        metavar="X",
        help=f"of encrypted archives; without X it is asked for. Others can see X in the list of processes, but not "
        f"the environment variable {PASSWORD}",
    )
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: all, %(default)s)")
    parser.add_argument("--height", type=int, default=64, help="rows of a frame (default: %(default)s)")
    parser.add_argument(
        "--partition", metavar="FILE", help="report the ids that this partition has and the input has not, "
        "where none is built in (Gait3D.json)"
    )  # fmt: skip


def _dataset(name: str) -> str:
    return {known.lower(): known for known in LAYOUTS}.get(name.lower(), name)
