"""The command line: `lib/main.py --phase train|test`, as the field's launchers call it, and `dygait`.

Nothing heavy is imported before the arguments are understood, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module

import dygait
from dygait import commands
from dygait.commands.experiment import add_run_arguments, is_main
from dygait.errors import Interrupted, LocalError, UserError
from dygait.untrusted import printable

_BAD_INPUT = 2
_TO_BE_RESUMED = 75  # sysexits.h's EX_TEMPFAIL: try again
_INTERRUPTED = 130
_PATIENCE = 20.0  # seconds; longer than processes that start together are apart


def _guarded(work: Callable[[], int]) -> int:
    """Run a command; a mistake of the user's ends in a line and exit code 2, not in a traceback."""
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # a mapped file that is cut off ends the process by SIGBUS: say where
    try:
        return work()
    except UserError as error:
        if is_main() or isinstance(error, LocalError):
            sys.stdout.flush()
            print(printable(f"dygait: error: {error}"), file=sys.stderr, flush=True)
        else:
            # Rank 0 has met the same mistake. A launcher ends all processes when the first one ends: let it be the one
            # that speaks.
            time.sleep(_PATIENCE)
        return _BAD_INPUT
    except Interrupted as interrupted:
        if is_main():
            sys.stdout.flush()
            print(f"dygait: {interrupted}", file=sys.stderr, flush=True)
        return _TO_BE_RESUMED
    except KeyboardInterrupt:
        return _INTERRUPTED


def runner(arguments: Sequence[str] | None = None) -> int:
    """Run `lib/main.py`: the form that OpenGait's users and launchers know."""
    parser = argparse.ArgumentParser(prog="main.py", description="Train or test a gait recognition model.")
    add_run_arguments(parser)
    parser.add_argument("--phase", choices=("train", "test"), default="train", help="what to do (default: train)")
    parsed = parser.parse_args(arguments)
    return _guarded(lambda: int(import_module(f"dygait.commands.{parsed.phase}").main(parsed)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script `dygait`."""
    parser = argparse.ArgumentParser(
        prog="dygait", description="Gait recognition from silhouette sequences, for research."
    )
    parser.add_argument("--version", action="version", version=f"dygait {dygait.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: import_module(f"dygait.commands.{name.replace('-', '_')}") for name in commands.NAMES}
    for name, module in modules.items():
        module.add_arguments(subparsers.add_parser(name, help=module.HELP))
    parsed = parser.parse_args(arguments)
    return _guarded(lambda: int(modules[parsed.command].main(parsed)))
