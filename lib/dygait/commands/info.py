"""`dygait info`: describe a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from dygait.commands.messages import progress_bar

HELP = "describe a dataset"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a packed store, or the folder <id>/<type>/<view>/<name>.pkl")
    parser.add_argument(
        "--every-sequence",
        action="store_true",
        help="check the frames of every sequence instead of a few hundred",
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw frames of some sequences")


def main(arguments: argparse.Namespace) -> None:
    from dygait.data import describe, frame_checks
    from dygait.data.stores import open_store

    store = open_store(arguments.source)
    print(describe.describe(store))
    for line in frame_checks.check_frames(store, every=arguments.every_sequence, progress=progress_bar("frames")):
        print(line)
    if arguments.sheet is not None:
        describe.save_contact_sheet(store, arguments.sheet)
        print(f"contact sheet: {arguments.sheet}")
