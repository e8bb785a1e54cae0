"""`dygait extract`: save the features of the test set."""

from __future__ import annotations

import argparse

from dygait.commands.experiment import add_run_arguments, experiment

HELP = "save the features of the test set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Embed the test set with a checkpoint, and save the features for `dygait evaluate`."
    add_run_arguments(parser)
    parser.add_argument("--features", required=True, metavar="DIR", help="the folder to write")
    parser.add_argument("--half", action="store_true", help="store float16")


def main(arguments: argparse.Namespace) -> None:
    with experiment(arguments, "test") as (config, device):
        from dygait.testing.scoring import run_extraction

        run_extraction(config, device, arguments.features, arguments.output, arguments.half)
