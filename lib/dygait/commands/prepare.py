"""`dygait prepare`."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from dygait.errors import UserError
from dygait.machine import available_cores
from dygait.preprocess.layouts import LAYOUTS

HELP = "turn a downloaded dataset into what is read"

LOST = 3
"""The exit code of a run that could not use everything it found."""

PASSWORD = "DYGAIT_PASSWORD"
"""The environment variable that holds the password of encrypted archives."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``dygait prepare`` (imports nothing heavy)."""
    parser.description = (
        "Turn a dataset as it was downloaded, archives or folders, into normalised sequences that DyGait reads. "
        "An interrupted run is continued by the same command."
    )
    parser.epilog = (
        "Exit code 0: nothing was lost; 3: something could not be used, and prepare_report.txt in the output folder "
        "says what; 2: a mistake in the input, explained in a line."
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
        "--password",
        nargs="?",
        const=True,
        metavar="X",
        help=f"of encrypted archives; without X it is asked for. Others can see X in the list of processes, but not "
        f"the environment variable {PASSWORD}",
    )
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes (default: all, %(default)s)")
    parser.add_argument("--height", type=int, default=64, help="rows of a frame (default: %(default)s)")
    parser.add_argument(
        "--partition", metavar="FILE", help="report the ids that this partition has and the input has not, "
        "where none is built in (Gait3D.json)"
    )  # fmt: skip


def _dataset(name: str) -> str:
    return {known.lower(): known for known in LAYOUTS}.get(name.lower(), name)


def main(arguments: argparse.Namespace) -> int:
    """Run ``dygait prepare``.

    Returns:
        0 if nothing was lost, `LOST` otherwise.

    Raises:
        UserError: an impossible option, an input that is not there or refused, a full disk.
    """
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
    )
    print(f"{arguments.dataset}: {report['ids']} ids, {report['sequences']} sequences, {report['frames']} frames")
    for problem in report["unreadable_archives"].values():
        print(f"dygait: warning: {problem}", file=sys.stderr)
    if report["lost"]:
        print(
            f"dygait: warning: not everything could be used: {arguments.output / 'prepare_report.txt'}", file=sys.stderr
        )
    else:
        print(f"report: {arguments.output / 'prepare_report.txt'}")
    return LOST if report["lost"] else 0


def _password(given: str | bool | None) -> str | None:
    """Return the password of archives: as given, asked for, or from the environment.

    Raises:
        UserError: nobody answers.
    """
    if given is not True:
        return given or os.environ.get(PASSWORD) or None
    try:
        return getpass.getpass("password of the archives: ")
    except EOFError:
        raise UserError(f"--password: nobody is there to be asked; set {PASSWORD}") from None
