"""`dygait test`: test a checkpoint."""

from __future__ import annotations

import argparse

from dygait.commands.experiment import add_run_arguments, experiment

HELP = "test a checkpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options (imports nothing heavy)."""
    parser.description = "Test a checkpoint."
    add_run_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Test; returns the exit code.

    Raises:
        UserError: the input is invalid.
        Interrupted: a signal ended the test.
    """
    with experiment(arguments, "test") as (config, device):
        from dygait.testing.scoring import run_test

        run_test(config, device, arguments.output, arguments.log_to_file)
    return 0
