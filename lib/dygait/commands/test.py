"""`dygait test`: test a checkpoint."""

from __future__ import annotations

import argparse

from dygait.commands.experiment import add_run_arguments, experiment

HELP = "test a checkpoint"
add_arguments = add_run_arguments


def main(arguments: argparse.Namespace) -> None:
    with experiment(arguments, "test") as (config, device):
        from dygait.testing.scoring import run_test

        run_test(config, device, arguments.output, arguments.log_to_file)
