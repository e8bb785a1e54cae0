"""`dygait prepare`: convert a downloaded dataset to normalised sequences."""

from __future__ import annotations

import argparse
import getpass
import os
from pathlib import Path
from typing import Any

from dygait.commands.messages import INCOMPLETE, warn
from dygait.errors import UserError
from dygait.machine import available_cores
from dygait.preprocess.layouts import LAYOUTS

HELP = "convert a downloaded dataset, or masks of your own, to normalised sequences"

PASSWORD = "DYGAIT_PASSWORD"
"""The environment variable that holds the password of encrypted archives."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Convert a downloaded dataset, archives or folders, to normalised sequences; `folders` is masks of your own, "
        "PNG, JPEG, BMP or TIFF, in DIR/<id>/<type>/<view>/ or DIR/<id>/<type>/. The same command continues an "
        "interrupted run."
    )
    parser.epilog = (
        "Exit code 0: everything was used; 3: something could not be used, see prepare_report.txt in the output "
        "folder; 2: invalid input."
    )
    parser.add_argument("dataset", type=_dataset, choices=tuple(LAYOUTS), help=f"one of {', '.join(LAYOUTS)}")
    parser.add_argument(
        "--input", type=Path, nargs="+", required=True, metavar="PATH", help="archives as downloaded, or folders"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument(
        "--format",
        choices=("pickle", "store"),
        default="pickle",
        help="<id>/<type>/<view>/<view>.pkl, or a packed store, which trains faster (default: %(default)s)",
    )
    parser.add_argument(
        "--clean",
        choices=("auto", "none"),
        help="threshold grey masks, invert dark ones, and keep one person without specks (default: auto for folders, "
        "none for the datasets)",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every Nth picture of a sequence (default: %(default)s)"
    )
    parser.add_argument(
        "--password",
        nargs="?",
        const=True,
        metavar="X",
        help=f"password of encrypted archives; without X, it is prompted for. X is visible in the list of processes, "
        f"the environment variable {PASSWORD} is not",
    )
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: all, %(default)s)")
    parser.add_argument("--height", type=int, default=64, help="rows of a frame (default: %(default)s)")
    parser.add_argument(
        "--partition", metavar="FILE", help="report the ids of this partition that the input lacks, for a dataset "
        "without a built-in partition (Gait3D.json)"
    )  # fmt: skip


def _dataset(name: str) -> str:
    return {layout.lower(): layout for layout in LAYOUTS}.get(name.lower(), name)


def main(arguments: argparse.Namespace) -> int:
    """Prepare a dataset; the exit code is `INCOMPLETE` if something cannot be used."""
    from dygait.preprocess.prepare import prepare

    report = prepare(
        arguments.dataset,
        arguments.input,
        arguments.output,
        format=arguments.format,
        password=_password(arguments.password),
        workers=arguments.workers,
        height=arguments.height,
        partition=arguments.partition,
        clean=None if arguments.clean is None else arguments.clean == "auto",
        every=arguments.every,
    )
    _print_summary(arguments, report)
    return INCOMPLETE if report["lost"] else 0


def _print_summary(arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    """Print the numbers of the report, and warnings; `UserError` if nothing could be used."""
    path = arguments.output / "prepare_report.txt"
    skipped = [
        f"{group['pictures']} pictures: {reason} ({group['names'][0]})" for reason, group in report["skipped"].items()
    ]
    if not report["sequences"] and skipped:
        raise UserError(f"--input: no picture could be used. {'; '.join(skipped)}")
    print(f"{arguments.dataset}: {report['ids']} ids, {report['sequences']} sequences, {report['frames']} frames")
    for step, count in report["cleaned"].items():
        print(f"{step}: {count['pictures']} pictures of {count['sequences']} sequences")
    warnings = [*report["unreadable_archives"].values()]
    jumps = sum(map(len, report["jumps"].values()))
    if jumps:
        warnings.append(
            f"{jumps} pictures of {len(report['jumps'])} sequences jump in height, area or place against their "
            "neighbours"
        )
    if report["gaps"]:
        warnings.append(f"{len(report['gaps'])} sequences lack numbers among their pictures")
    if report["lost"]:
        warnings += [f"skipped {line}" for line in skipped] + [f"not everything could be used: {path}"]
    for warning in warnings:
        warn(warning)
    if not report["lost"]:
        print(f"report: {path}")


def _password(option: str | bool | None) -> str | None:
    """Return the password of archives: from the option, a prompt, or the environment."""
    if option is not True:
        return option or os.environ.get(PASSWORD) or None
    try:
        return getpass.getpass("password of the archives: ")
    except EOFError:
        raise UserError(f"--password: there is no terminal to prompt on; set {PASSWORD}") from None
