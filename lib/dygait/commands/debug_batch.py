"""`dygait debug-batch`: diagnose a batch whose gradient was not finite."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dygait.commands.messages import warn

HELP = "diagnose a batch that a run saved because its gradient was not finite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="<run>/debug/batch-*.pt")
    parser.add_argument(
        "--custom-import",
        type=Path,
        action="append",
        default=[],
        metavar="FILE.py",
        help="Python file to execute first, where the model is not built in: the custom_imports of the configuration, "
        "which the batch itself must not choose",
    )


def main(args: argparse.Namespace) -> None:
    from dygait.config.custom_imports import import_file
    from dygait.runs.checkpoint_files import read_checkpoint
    from dygait.training.bad_batch import diagnose

    for file in args.custom_import:
        warn(f"executing the code of {file}")
        import_file(Path(os.path.realpath(file)))
    print("\n".join(diagnose(read_checkpoint(args.file), str(args.file))))
