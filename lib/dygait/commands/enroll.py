"""`dygait enroll`: add a person to a gallery."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from dygait.commands.gallery_options import add_gallery_arguments, add_window_arguments, open_gallery
from dygait.commands.walk_options import add_source_arguments, open_video, walks_in
from dygait.errors import UserError

if TYPE_CHECKING:
    from dygait.identification.walks import Walk

HELP = "add a person to a gallery"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Add walks of a person to a gallery. A person who is enrolled already gets more walks."
    parser.add_argument("name", metavar="NAME", help="name of the person")
    add_source_arguments(parser)
    add_gallery_arguments(parser)
    add_window_arguments(parser)
    parser.add_argument(
        "--keep-silhouettes",
        action="store_true",
        help="store some frames too, for `identify --page`; otherwise a gallery holds no pictures",
    )


def main(arguments: argparse.Namespace) -> None:
    from dygait.untrusted import printable

    gallery = open_gallery(arguments)
    gallery.folder.person(arguments.name)
    walks = list(walks_in(arguments, open_video(arguments), gallery.model.info.frame_rate))
    usable = [walk for walk in walks if not walk.problems]
    for walk in walks:
        if walk.problems:
            print(printable(f"skipped {walk.label}: {'; '.join(walk.problems)}"))
    if not usable:
        raise UserError(f"{arguments.source}: none of {len(walks)} walks can be used; nobody was enrolled")
    _check_one_person(walks, arguments.source, arguments.name)
    windows = gallery.enroll(arguments.name, [walk.frames for walk in usable], arguments.keep_silhouettes)
    counts = f"walks: {len(usable)}, windows: {windows}"
    print(printable(f"enrolled {arguments.name} in {arguments.gallery}; {counts}"))


def _check_one_person(walks: Sequence[Walk], source: str, name: str) -> None:
    """Raise a UserError if the walks are of several ids, or of people who are seen at the same time."""
    from dygait.identification.windows import FEWEST

    people = sorted({walk.person for walk in walks})
    if len(people) > 1:
        raise UserError(
            f"{source} has sequences of {len(people)} ids, such as {people[0]} and {people[1]}: choose those of {name} "
            f"with --sequences, such as --sequences '{people[0]}/*'"
        )
    spans = sorted((walk.span, walk.label) for walk in walks if walk.span is not None and len(walk.frames) >= FEWEST)
    for ((_, end), first), ((start, _), second) in pairwise(spans):
        if start < end:
            raise UserError(
                f"{source}: tracks {first} and {second} are seen at the same time, and cannot both be {name}: look at "
                f"`dygait silhouettes --preview`, and choose with --sequences, such as --sequences {first}"
            )
