"""`dygait whiten`: whiten the features of weights by sequences of people or views, without training."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "whiten the features of weights by sequences of people or views, without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Embed labelled sequences, estimate the covariance of features within a person, and fold its inverse into the "
        "weights: within-class covariance normalisation; or the covariance between views, by people who need not be "
        "known. Works on networks with separate FCs and BNNecks."
    )
    parser.add_argument(
        "source", metavar="WEIGHTS", help="a name of weights that ship, a checkpoint, or a run's folder"
    )
    parser.add_argument("target", metavar="FILE", type=Path, help="the file to write: *.safetensors")
    parser.add_argument(
        "--data", metavar="ROOT",
        help="a dataset whose training ids are used: a folder, or syngait://... (default: the weights' training data)",
    )  # fmt: skip
    parser.add_argument(
        "--partition", metavar="NAME|FILE",
        help="the training ids, as data_cfg.dataset_partition (default: those of the folder or dataset, or else all)",
    )  # fmt: skip
    parser.add_argument(
        "--by", choices=("people", "views"), default="people",
        help="views: only how the views differ, so that ids do not matter (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--count", type=int, default=4000, metavar="N", help="the most sequences, evenly spaced (default: %(default)s)"
    )
    parser.add_argument(
        "--part-weights", type=float, nargs="+", metavar="W",
        help="weight of each part in a distance, from the top of the body (default: as before)",
    )  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    from dygait.deployment.pretrained import load_pretrained
    from dygait.deployment.whitening import training_sequences, write_whitened

    model = load_pretrained(arguments.source)
    store, indices = training_sequences(model, arguments.data, arguments.count, arguments.partition)
    write_whitened(model, store, indices, arguments.target, arguments.part_weights, arguments.by)
    classes = {store.table.key(index)[2 if arguments.by == "views" else 0] for index in indices}
    print(f"wrote {arguments.target}: whitened by {len(indices)} sequences of {len(classes)} {arguments.by}")
