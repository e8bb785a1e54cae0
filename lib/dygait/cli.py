"""The command line: `lib/main.py --phase train|test`, as in OpenGait, and `dygait`.

PyTorch is imported only after the arguments are parsed, so that `--help` is fast.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module

import dygait
from dygait import commands
from dygait.commands.experiment import add_run_arguments, is_main
from dygait.errors import Interrupted, LocalError, UserError
from dygait.untrusted import printable

_USER_ERROR = 2
_INTERRUPTED = 75  # sysexits.h's EX_TEMPFAIL: try again
_KEYBOARD_INTERRUPT = 130
_BROKEN_PIPE = 141  # as a shell reports SIGPIPE
_DELAY = 20.0  # seconds; processes that start together are less apart


def _exit_code(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code, 0 for None; a `UserError` is printed as one line, without a traceback."""
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)  # prints a traceback if a truncated mapped file raises SIGBUS
    try:
        code = command() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        if is_main() or isinstance(error, LocalError):
            sys.stdout.flush()
            print(printable(f"dygait: error: {error}"), file=sys.stderr, flush=True)
        elif "TORCHELASTIC_RUN_ID" in os.environ:
            # Rank 0 raises and prints the same error. This launcher ends all processes when the first one ends: wait,
            # so that this is rank 0.
            time.sleep(_DELAY)
        return _USER_ERROR
    except Interrupted as interrupted:
        if is_main():
            sys.stdout.flush()
            print(f"dygait: {interrupted}", file=sys.stderr, flush=True)
        return _INTERRUPTED
    except KeyboardInterrupt:
        return _KEYBOARD_INTERRUPT
    except BrokenPipeError:
        if not _discard_output():
            raise
        return _BROKEN_PIPE


def _discard_output() -> bool:
    """Discard what is still to be printed, and return True, if nobody reads it, as in `dygait info DIR | head`."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def runner(arguments: Sequence[str] | None = None) -> int:
    """Run `lib/main.py`, whose options are OpenGait's."""
    parser = argparse.ArgumentParser(prog="main.py", description="Train or test a gait recognition model.")
    add_run_arguments(parser)
    parser.add_argument("--phase", choices=("train", "test"), default="train", help="what to do (default: train)")
    parsed = parser.parse_args(arguments)
    return _exit_code(lambda: import_module(f"dygait.commands.{parsed.phase}").main(parsed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script `dygait`."""
    parser = argparse.ArgumentParser(
        prog="dygait", description="Gait recognition from silhouette sequences, for research."
    )
    parser.add_argument("--version", action="version", version=f"dygait {dygait.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = {name: import_module(f"dygait.commands.{name.replace('-', '_')}") for name in commands.NAMES}
    for name, module in modules.items():
        parser_of_command = subparsers.add_parser(name, help=module.HELP, description=f"{module.HELP.capitalize()}.")
        module.add_arguments(parser_of_command)
    parsed = parser.parse_args(arguments)
    return _exit_code(lambda: modules[parsed.command].main(parsed))
