"""The command line: `lib/main.py --phase train|test`, as the field's launchers call it, and `dygait`.

Nothing heavy is imported before the arguments are understood, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import dygait
from dygait.errors import Interrupted, LocalError, UserError
from dygait.untrusted import printable

_BAD_INPUT = 2
_TO_BE_RESUMED = 75  # sysexits.h's EX_TEMPFAIL: try again
_INTERRUPTED = 130
_PATIENCE = 20.0  # seconds; longer than processes that start together are apart


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cfgs", required=True, metavar="FILE", help="the experiment's YAML file")
    parser.add_argument(
        "--iter", type=int, metavar="N", help="the iteration of the checkpoint to go on from, or to test"
    )
    parser.add_argument(
        "--resume", action="store_true", help="train on from the newest checkpoint of the run that is whole, if any"
    )
    parser.add_argument(
        "--log_to_file", action="store_true", help="write the log lines to a file in the run's folder too"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a key; may be given many times",
    )
    parser.add_argument("--output", default="output", metavar="DIR", help="where runs go (default: output)")
    # Old launchers still pass this, in one spelling or the other; the environment says it better.
    parser.add_argument("--local_rank", "--local-rank", type=int, dest="local_rank", help=argparse.SUPPRESS)


def run(phase: str, arguments: argparse.Namespace) -> int:
    """Train, test or extract what the arguments describe; returns the exit code.

    Raises:
        UserError: anything is wrong with the input.
    """
    from dygait import distributed
    from dygait.config import load_config
    from dygait.engine.build import component_problems

    overrides = list(arguments.set)
    if arguments.iter is not None:
        overrides.append(f"{'trainer' if phase == 'train' else 'evaluator'}_cfg.restore_hint={arguments.iter}")
    if arguments.resume and (phase != "train" or arguments.iter is not None):
        raise UserError(
            "--resume goes on with training from the newest checkpoint; it does not go with a test or --iter"
        )
    if arguments.resume:
        overrides.append("trainer_cfg.restore_hint=auto")
    config = load_config(
        arguments.cfgs, overrides, [partial(component_problems, phase="train" if phase == "train" else "test")], _warn
    )
    with distributed.process_group(arguments.local_rank, config.trainer_cfg.collective_timeout) as device:
        if phase == "train":
            from dygait.engine.train import train

            train(config, device, arguments.output, arguments.log_to_file)
        elif phase == "extract":
            from dygait.engine.test import extract_to

            extract_to(config, device, arguments.features, arguments.output, arguments.half)
        else:
            from dygait.engine.test import test

            test(config, device, arguments.output, arguments.log_to_file)
    return 0


def _synth(arguments: argparse.Namespace) -> int:
    from dygait import synthetic
    from dygait.preprocess import normalise_silhouette

    return synthetic.main(arguments, normalise_silhouette)


def _prepare(arguments: argparse.Namespace) -> int:
    from dygait.engine import prepare

    return prepare.main(arguments)


def _is_main() -> bool:
    """Tell whether this is rank 0, before or after there is a process group."""
    return os.environ.get("RANK", "0") == "0"


def _warn(message: str) -> None:
    if _is_main():
        print(printable(f"dygait: warning: {message}"), file=sys.stderr)


def _guarded(work: Callable[[], int]) -> int:
    """Run a command; a mistake of the user's ends in a line and exit code 2, not in a traceback."""
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a mapped file that is cut off ends the process by SIGBUS: say where
    try:
        return work()
    except UserError as error:
        if _is_main() or isinstance(error, LocalError):
            sys.stdout.flush()
            print(printable(f"dygait: error: {error}"), file=sys.stderr, flush=True)
        else:
            # Rank 0 has met the same mistake. A launcher ends all processes when the first one ends: let it be the one
            # that speaks.
            time.sleep(_PATIENCE)
        return _BAD_INPUT
    except Interrupted as interrupted:
        if _is_main():
            sys.stdout.flush()
            print(f"dygait: {interrupted}", file=sys.stderr, flush=True)
        return _TO_BE_RESUMED
    except KeyboardInterrupt:
        return _INTERRUPTED


def runner(arguments: Sequence[str] | None = None) -> int:
    """Run `lib/main.py`: the form that OpenGait's users and launchers know."""
    parser = argparse.ArgumentParser(prog="main.py", description="Train or test a gait recognition model.")
    _add_run_arguments(parser)
    parser.add_argument("--phase", choices=("train", "test"), default="train", help="what to do (default: train)")
    parsed = parser.parse_args(arguments)
    return _guarded(lambda: run(parsed.phase, parsed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script `dygait`."""
    from dygait import preprocess, synthetic
    from dygait.engine import convert, dataset_tools, debug_batch, score, status
    from dygait.engine.profiling import command as profiling
    from dygait.engine.report import command as report

    parser = argparse.ArgumentParser(
        prog="dygait", description="Gait recognition from silhouette sequences, for research."
    )
    parser.add_argument("--version", action="version", version=f"dygait {dygait.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for phase, what in (("train", "train a model"), ("test", "test a checkpoint")):
        _add_run_arguments(commands.add_parser(phase, help=what, description=f"{what.capitalize()}."))
    extract = commands.add_parser("extract", help="keep the features of the test set")
    extract.description = "Embed the test set by a checkpoint, and keep the features for `dygait evaluate`."
    _add_run_arguments(extract)
    extract.add_argument("--features", required=True, metavar="DIR", help="the folder to write")
    extract.add_argument("--half", action="store_true", help="store float16: half the room")
    # Each tool: what declares its options, what runs it, and a word on it.
    tools: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int], str]] = {
        "evaluate": (score.add_arguments, score.main, "score features that were kept"),
        "convert": (convert.add_arguments, convert.main, "rename a checkpoint's weights, from or to OpenGait"),
        "report": (report.add_arguments, report.main, "show what tests found on one page"),
        "profile": (profiling.add_arguments, profiling.main, "say what a training step costs, and where its time goes"),
        "status": (status.add_arguments, status.main, "say how a run is doing"),
        "debug-batch": (debug_batch.add_arguments, debug_batch.main, "look at a batch that a run could not digest"),
        "synth": (synthetic.add_arguments, _synth, "make SynGait, the synthetic walkers"),
        "prepare": (preprocess.add_arguments, _prepare, "turn a downloaded dataset into what is read"),
    }
    for name, what in dataset_tools.TOOLS.items():
        tools[name] = (partial(dataset_tools.add_arguments, name), partial(dataset_tools.main, name), what)
    for name, (add_arguments, _, what) in tools.items():
        add_arguments(commands.add_parser(name, help=what))
    parsed = parser.parse_args(arguments)
    if parsed.command in tools:
        return _guarded(lambda: tools[parsed.command][1](parsed))
    return _guarded(lambda: run(parsed.command, parsed))
