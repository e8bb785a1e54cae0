"""`dygait pack`: convert a tree of pickles to a packed store."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dygait.commands.messages import INCOMPLETE, print_problems, progress_bar

HELP = "convert a tree of pickles to a packed store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="the folder <id>/<type>/<view>/<name>.pkl")
    parser.add_argument("target", type=Path, help="the folder of the store; missing sequences are added")
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help=f"skip pickles that cannot be read, and print their names; the exit code is then {INCOMPLETE}",
    )


def main(arguments: argparse.Namespace) -> int:
    """Pack a dataset; the exit code is `INCOMPLETE` if a sequence was skipped."""
    from dygait.data import packing

    start = time.monotonic()
    result = packing.pack(arguments.source, arguments.target, arguments.skip_bad, progress_bar("pack"))
    seconds = time.monotonic() - start
    print_problems(result.skipped)
    print(
        f"{result.written} files packed into {arguments.target} in {seconds:.0f} s; {result.kept} existed "
        f"already, {len(result.skipped)} were skipped"
    )
    return INCOMPLETE if result.skipped else 0
