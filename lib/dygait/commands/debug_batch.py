"""`dygait debug-batch`: look at a batch that training could not digest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HELP = "look at a batch that a run could not digest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options (imports nothing heavy)."""
    parser.description = "Look at a batch that a run saved because its gradient was not finite."
    parser.add_argument("file", type=Path, help="<run>/debug/batch-*.pt")
    parser.add_argument(
        "--custom-import",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.py",
        help="code to run first, where the model is not built in: that which the configuration's custom_imports name; "
        "the file's own word is not taken for it",
    )


def main(args: argparse.Namespace) -> int:
    """Print what is wrong with a saved batch.

    Raises:
        UserError: the file cannot be read, or is no such batch.
    """
    from dygait.config.custom import run_file
    from dygait.runs.checkpoint import read_checkpoint
    from dygait.training.bad_batch import diagnose
    from dygait.untrusted import printable

    for file in args.custom_import:
        print(printable(f"dygait: warning: the code of {file} is run"), file=sys.stderr)
        run_file(Path(os.path.realpath(file)))
    print("\n".join(diagnose(read_checkpoint(args.file), str(args.file))))
    return 0
