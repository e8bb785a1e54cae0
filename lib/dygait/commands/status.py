"""`dygait status`: show the state of a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "show the state of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Show the state of a run, from the files in its folder."
    parser.add_argument("run", type=Path, help="the run's folder: output/<dataset>/<model>/<save_name>")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> None:
    """Print the state."""
    from dygait.runs.status import status, to_text
    from dygait.untrusted import printable

    found = status(args.run)
    print(json.dumps(found, indent=2) if args.json else printable(to_text(found)))
