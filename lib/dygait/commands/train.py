"""`dygait train`: train a model."""

from __future__ import annotations

import argparse

from dygait.commands.experiment import add_run_arguments, experiment

HELP = "train a model"
add_arguments = add_run_arguments


def main(arguments: argparse.Namespace) -> None:
    with experiment(arguments, "train") as (config, device):
        from dygait.training.loop import train

        train(config, device, arguments.output, arguments.log_to_file)
