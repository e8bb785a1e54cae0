"""`dygait unpack`: convert a packed store to a tree of pickles."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dygait.commands.messages import progress_bar

HELP = "convert a packed store back to a tree of pickles"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="the store's folder")
    parser.add_argument("target", type=Path, help="the folder to fill")


def main(arguments: argparse.Namespace) -> None:
    from dygait.data import packing

    start = time.monotonic()
    written = packing.unpack(arguments.source, arguments.target, progress_bar("unpack"))
    print(f"{written} files written to {arguments.target} in {time.monotonic() - start:.0f} s")
