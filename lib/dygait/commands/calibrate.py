"""`dygait calibrate`: find the threshold of a gallery."""

from __future__ import annotations

import argparse
from functools import partial

from dygait.commands.gallery_options import add_gallery_arguments, add_window_arguments, open_gallery

HELP = "find the distance up to which a gallery's people count as known"
STRANGERS = "syngait://?seed=990019&train_ids=0&test_ids=100"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Search for the people of a labelled dataset among themselves, and store the distances in a gallery. The "
        "threshold at a given false-positive identification rate follows from them. The weights must not have been "
        "trained on these people, who should be enrolled and searched under the same conditions as the gallery's."
    )
    parser.add_argument(
        "source", nargs="?", default=STRANGERS, metavar="DATASET",
        help="a labelled dataset, or an address of SynGait (default: %(default)s)",
    )  # fmt: skip
    add_gallery_arguments(parser)
    add_window_arguments(parser)
    parser.add_argument(
        "--fpir", type=float, default=0.01, metavar="RATE",
        help="false-positive identification rate: the share of people who are not enrolled, but are taken for somebody "
        "who is (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--ids", default="*", metavar="PATTERN", help="ids of the people (default: all)")
    parser.add_argument("--enrolled", metavar="PATTERN", help="types to enrol (default: the first of each person)")
    parser.add_argument("--enrolled-views", default="*", metavar="PATTERN", help="views to enrol (default: all)")
    parser.add_argument("--searched-views", default="*", metavar="PATTERN", help="views to search (default: all)")
    parser.add_argument(
        "--searches", type=int, default=20, metavar="N", help="the most searches of a person (default: %(default)s)"
    )


def main(arguments: argparse.Namespace) -> None:
    from dygait.data.stores import open_store
    from dygait.identification.answers import calibration_text
    from dygait.identification.folder import CALIBRATION
    from dygait.identification.labelled import Choice, calibrate
    from dygait.logs import progress

    gallery = open_gallery(arguments)
    choice = Choice(
        arguments.ids, arguments.enrolled, arguments.enrolled_views, arguments.searched_views, arguments.searches
    )
    calibration = calibrate(
        gallery.model, open_store(arguments.source), choice, arguments.fpir, (gallery.window, gallery.step),
        gallery.metric, partial(progress, description="embedding"),
    )  # fmt: skip
    settings = gallery.create()
    calibration.save(gallery.folder.root / CALIBRATION, settings)
    print(calibration_text(calibration, len(gallery.names)))
