"""Exceptions whose message is printed to the user without a traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Invalid input that the user can fix: the message names the file or the key, and the fix.

    The command line prints it without a traceback and exits with code 2. Bugs of DyGait must not be raised as this.
    """


class LocalError(UserError):
    """A `UserError` that a single process raises, and prints even if it is not rank 0."""


class LostProcessError(LocalError):
    """Another process of the run has failed, hangs or was killed; printed by every process that notices it."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """A signal ended a run, which is saved: the message says how to continue. Exit code 75."""
