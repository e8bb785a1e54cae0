"""`dygait gallery`: list, forget or verify the people of a gallery."""

from __future__ import annotations

import argparse
from pathlib import Path

from dygait.commands.messages import INCOMPLETE, print_problems

HELP = "list, forget or verify the people of a gallery"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("list", "print the enrolled people"),
        ("forget", "delete everything of a person"),
        ("verify", "read every file, and name the damaged ones"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        action.add_argument("gallery", type=Path, metavar="DIR", help="the gallery's folder")
        if name == "forget":
            action.add_argument("name", metavar="NAME", help="name of the person")


def main(arguments: argparse.Namespace) -> int:
    """Run the action; the exit code is `INCOMPLETE` if a file is damaged."""
    from dygait.identification.folder import GalleryFolder
    from dygait.untrusted import printable

    folder = GalleryFolder(arguments.gallery)
    settings = folder.settings()
    if arguments.action == "forget":
        count = folder.forget(arguments.name)
        print(printable(f"forgot {arguments.name}: {count} enrolments are deleted from {arguments.gallery}"))
        return 0
    if arguments.action == "verify":
        damaged = print_problems(folder.problems(settings))
        print(f"{arguments.gallery}: {f'{damaged} problems' if damaged else 'no file is damaged'}")
        return INCOMPLETE if damaged else 0
    from tabulate import tabulate

    rows = [(printable(name), len(files), sum(map(folder.count, files))) for name, files in folder.people().items()]
    print(
        f"{arguments.gallery}: {len(rows)} people; weights {settings.weights} ({settings.identity[:12]}), "
        f"windows of {settings.window} frames every {settings.step}"
    )
    if rows:
        print(tabulate(rows, headers=("name", "enrolments", "windows"), disable_numparse=True))
    return 0
