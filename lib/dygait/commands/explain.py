"""`dygait explain`: show where the branches of a DyGait model respond."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "show where the branches of a DyGait model respond"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show where the dynamic and the spatial branches of a trained DyGait respond: maps over the silhouette, and "
        "the energy by body part over the gait cycle. Writes explain.html, explain.json and PNGs."
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, a checkpoint, or the name of weights that ship")
    parser.add_argument(
        "--sequences",
        nargs="+",
        default=[],
        metavar="ID/TYPE/VIEW",
        help="the sequences, with wildcards: '*/nm-05/090'; default: those of the test ids",
    )
    parser.add_argument("--data", metavar="ROOT", help="another dataset than the run's: a folder, or syngait://...")
    parser.add_argument(
        "--count", type=int, default=24, metavar="N", help="the most sequences, evenly spaced (default: %(default)s)"
    )
    parser.add_argument(
        "--pictures", type=int, default=3, metavar="N", help="number of sequences to draw (default: %(default)s)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="the folder to write; default: explain, in the run's folder if there is one",
    )


def main(args: argparse.Namespace) -> None:
    from tabulate import tabulate

    from dygait.deployment.pretrained import find_weights
    from dygait.errors import UserError
    from dygait.explaining.explain import choose, explain, load
    from dygait.explaining.page import write
    from dygait.reporting.explanation import FOLDER
    from dygait.reporting.responses import share_table

    if args.count < 1 or args.pictures < 0:
        raise UserError("--count must be at least 1, and --pictures at least 0")
    model = load(args.run)
    store, indices = choose(model, args.data, args.sequences, args.count)
    explanation, films = explain(model, store, indices, args.pictures)
    path = find_weights(args.run)
    folder = args.output or (path.parent.parent if path.parent.name == "checkpoints" else Path()) / FOLDER
    paths = write(explanation, films, folder)
    columns, rows = share_table(explanation)
    print(tabulate([[*labels, *cells] for labels, cells in rows], ["DAM", "branch", *columns], disable_numparse=True))
    print(f"wrote {', '.join(map(str, paths))}")
