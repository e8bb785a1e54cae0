"""`dygait train`: train a model."""

from __future__ import annotations

import argparse

from dygait.commands.experiment import add_run_arguments, experiment

HELP = "train a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options (imports nothing heavy)."""
    parser.description = "Train a model."
    add_run_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Train; returns the exit code.

    Raises:
        UserError: the input is invalid.
        Interrupted: a signal ended the run.
    """
    with experiment(arguments, "train") as (config, device):
        from dygait.training.loop import train

        train(config, device, arguments.output, arguments.log_to_file)
    return 0
