"""`dygait verify`: read every sequence of a dataset, and name the damaged ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from dygait.commands.messages import INCOMPLETE, print_problems, progress_bar

HELP = "read every sequence of a dataset, and name the damaged ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="a packed store, or the folder <id>/<type>/<view>/<name>.pkl")


def main(arguments: argparse.Namespace) -> int:
    """Verify a dataset; the exit code is `INCOMPLETE` if something is damaged."""
    from dygait.data import integrity

    damaged = print_problems(integrity.verify(arguments.source, progress_bar("verify")))
    result = f"{damaged} files are damaged" if damaged else "no file is damaged"
    print(f"{arguments.source}: {result}")
    return INCOMPLETE if damaged else 0
