"""Options and loading of an experiment's YAML file, shared by the commands that take one."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

from dygait.commands.messages import warn
from dygait.errors import UserError

if TYPE_CHECKING:
    import torch

    from dygait.config import Config

Phase = Literal["train", "test"]


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name a configuration."""
    parser.add_argument("--cfgs", required=True, metavar="FILE", help="the experiment's YAML file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key; may be given many times",
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a run."""
    add_config_arguments(parser)
    parser.add_argument(
        "--iter", type=int, metavar="N", help="the iteration of the checkpoint to resume from, or to test"
    )
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="test weights that ship with the package, or a checkpoint, with their own network, transform and name",
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume from the newest undamaged checkpoint of the run, if there is one"
    )
    parser.add_argument(
        "--log_to_file", action="store_true", help="write the log lines to a file in the run's folder too"
    )
    parser.add_argument("--output", default="output", metavar="DIR", help="where runs go (default: output)")
    # Old launchers pass this option, in either spelling; environment variables have precedence.
    parser.add_argument("--local_rank", "--local-rank", type=int, dest="local_rank", help=argparse.SUPPRESS)


def load_experiment(file: str, overrides: Sequence[str], phase: Phase) -> Config:
    """Load and check a configuration; rank 0 prints the warnings, and a UserError lists all problems."""
    from dygait.config import load_config
    from dygait.training.checks import component_problems

    return load_config(file, overrides, [partial(component_problems, phase=phase)], _warn)


@contextmanager
def experiment(arguments: argparse.Namespace, phase: Phase) -> Iterator[tuple[Config, torch.device]]:
    """Load the configuration of a run, and join the process group."""
    from dygait import distributed

    overrides = list(arguments.set)
    if arguments.iter is not None:
        overrides.append(f"{'trainer' if phase == 'train' else 'evaluator'}_cfg.restore_hint={arguments.iter}")
    if arguments.resume and (phase != "train" or arguments.iter is not None):
        raise UserError(
            "--resume continues training from the newest checkpoint; it cannot be used in a test or with --iter"
        )
    if arguments.weights is not None and (phase != "test" or arguments.iter is not None):
        raise UserError(
            "--weights names the weights of a test, without --iter; trainer_cfg.init_from is where a training starts"
        )
    if arguments.resume:
        overrides.append("trainer_cfg.restore_hint=auto")
    config = load_experiment(arguments.cfgs, overrides, phase)
    if arguments.weights is not None:
        from dygait.deployment import with_weights

        config = with_weights(config, arguments.weights, {name.partition("=")[0].strip() for name in arguments.set})
    with distributed.process_group(arguments.local_rank, config.trainer_cfg.collective_timeout) as device:
        yield config, device


def is_main() -> bool:
    """Return whether this is rank 0; also before the process group is initialised."""
    return os.environ.get("RANK", "0") == "0"


def _warn(message: str) -> None:
    if is_main():
        warn(message)
