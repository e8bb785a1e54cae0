"""`dygait report`: write an HTML report of runs, or folders of features."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

HELP = "write an HTML report of tests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Write an HTML report of tests, with tables as CSV, LaTeX and JSON next to it."
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
        help="the HTML file; default: report/report.html in the run's folder, or ./report.html for several runs",
    )
    parser.add_argument("--protocol", metavar="NAME", help="default: the protocol of the configuration")
    parser.add_argument("--metric", choices=("euc", "cos"), help="default: the configuration's")
    parser.add_argument(
        "--no-frames", action="store_true", help="do not show silhouettes, if the licence of the data forbids it"
    )


def main(args: argparse.Namespace) -> None:
    from dygait.errors import UserError
    from dygait.reporting.page import write_report
    from dygait.reporting.reported_run import open_runs

    target = args.output or _default_output(args.runs)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {target}: name a .html file; the tables are written next to it")
    runs = [run for path in args.runs for run in open_runs(path, args.protocol, args.metric, not args.no_frames)]
    write_report(runs, target)
    print(f"wrote {target}, with .csv, .tex and .json next to it")


def _default_output(paths: Sequence[Path]) -> Path:
    if len(paths) == 1 and (paths[0] / "features").is_dir():
        return paths[0] / "report" / "report.html"
    return Path("report.html")
