"""`dygait debug-batch`: look at a batch that training could not digest."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options (imports nothing heavy)."""
    parser.description = "Look at a batch that a run saved because its gradient was not finite."
    parser.add_argument("file", type=Path, help="<run>/debug/batch-*.pt")


def main(args: argparse.Namespace) -> int:
    """Print what is wrong with a saved batch.

    Raises:
        UserError: the file cannot be read, or is no such batch.
    """
    from dygait.engine.bad_batch import diagnose
    from dygait.engine.checkpoint import read_checkpoint

    print("\n".join(diagnose(read_checkpoint(args.file), str(args.file))))
    return 0
