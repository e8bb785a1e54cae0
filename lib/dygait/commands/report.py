"""`dygait report`: from runs, or folders of features, to one page and its tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "show what tests found on one page"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options (imports nothing heavy)."""
    parser.description = "Make one HTML file of what tests found, with tables as CSV, LaTeX and JSON beside it."
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run's folder, or a folder of features; several are compared",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the HTML file; left out: report/report.html in the run's folder, or report.html here where there are "
        "several runs",
    )
    parser.add_argument("--protocol", metavar="NAME", help="left out: the protocol of the configuration")
    parser.add_argument("--metric", choices=("euc", "cos"), help="left out: the configuration's")
    parser.add_argument(
        "--no-frames", action="store_true", help="leave the silhouettes out, where the data's licence asks for it"
    )


def main(args: argparse.Namespace) -> int:
    """Read the runs, draw, and write.

    Raises:
        UserError: features cannot be read, or they, the protocol and the data do not fit each other; or the report
        cannot be written.
    """
    from dygait.errors import UserError
    from dygait.reporting.page import write_report
    from dygait.reporting.reported_run import open_run

    target = args.output or _default_output(args.runs)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {target}: give the name of a .html file; the tables go beside it")
    runs = [open_run(path, args.protocol, args.metric, not args.no_frames) for path in args.runs]
    write_report(runs, target)
    print(f"wrote {target}, with .csv, .tex and .json beside it")
    return 0


def _default_output(paths: Sequence[Path]) -> Path:
    if len(paths) == 1 and (paths[0] / "features").is_dir():
        return paths[0] / "report" / "report.html"
    return Path("report.html")
