"""`dygait pack`, `unpack`, `verify` and `info`: the tools for datasets on disk."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

TOOLS = {
    "pack": "convert a tree of pickles to a packed store",
    "unpack": "convert a packed store back to a tree of pickles",
    "verify": "read every sequence of a dataset and name those that are damaged",
    "info": "say what a dataset holds",
}
DAMAGED = 3
"""The exit code where a dataset was read and something in it cannot be used."""


def add_arguments(tool: str, parser: argparse.ArgumentParser) -> None:
    """Declare the options of a tool (imports nothing heavy)."""
    parser.description = f"{TOOLS[tool].capitalize()}."
    if tool == "pack":
        parser.add_argument("source", type=Path, help="the folder <id>/<type>/<view>/<name>.pkl")
        parser.add_argument("target", type=Path, help="the store's folder; run again, it takes in what is missing")
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help=f"leave out pickles that cannot be read and name them; the exit code is then {DAMAGED}",
        )
    elif tool == "unpack":
        parser.add_argument("source", type=Path, help="the store's folder")
        parser.add_argument("target", type=Path, help="the folder to fill")
    else:
        parser.add_argument("source", type=Path, help="a packed store, or the folder <id>/<type>/<view>/<name>.pkl")
    if tool == "info":
        parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw frames of some sequences")


def main(tool: str, args: argparse.Namespace) -> int:
    """Run a tool.

    Returns:
        0; or 3 where sequences are damaged, which are named.

    Raises:
        UserError: the dataset cannot be opened, or something cannot be written.
    """
    from dygait.data import describe, packing
    from dygait.data.stores import open_store

    start = time.monotonic()
    if tool == "info":
        store = open_store(args.source)
        print(describe.describe(store))
        if args.sheet is not None:
            describe.save_contact_sheet(store, args.sheet)
            print(f"contact sheet: {args.sheet}")
        return 0
    bar = _bar(tool)
    if tool == "pack":
        packed = packing.pack(args.source, args.target, args.skip_bad, bar)
        _say(packed.refused)
        print(
            f"{packed.written} files packed into {args.target} in {time.monotonic() - start:.0f} s; {packed.kept} were "
            f"there already, {len(packed.refused)} left out"
        )
        return DAMAGED if packed.refused else 0
    if tool == "unpack":
        written = packing.unpack(args.source, args.target, bar)
        print(f"{written} files written to {args.target} in {time.monotonic() - start:.0f} s")
        return 0
    damaged = _say(packing.verify(args.source, bar))
    print(f"{args.source}: {f'{damaged} files are damaged' if damaged else 'every file is as it was written'}")
    return DAMAGED if damaged else 0


def _say(problems: Iterable[str]) -> int:
    count = 0
    for problem in problems:
        print(f"dygait: {problem}", file=sys.stderr)
        count += 1
    return count


def _bar(what: str) -> Callable[[Iterable[int], int], Iterable[int]]:
    from tqdm import tqdm

    # On a terminal a live bar, in a log file a line now and then.
    pause = 0.1 if sys.stderr.isatty() else 10.0
    return lambda places, total: tqdm(places, total=total, desc=what, unit="sequence", mininterval=pause)
