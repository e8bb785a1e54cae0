"""The one exception that stands for a mistake the user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: the message names the file or the key and says what to do about it.

    The command line prints it as it is, without a traceback, and exits with code 2. A failure of DyGait itself must not
    be raised as this.
    """


class LocalError(UserError):
    """Bad input that one process of several has met: whichever it is prints it, not rank 0 alone."""


class LostProcessError(LocalError):
    """Another process of the run has failed, hangs or is gone: every process that notices says so."""


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """A run was asked to end and has saved what it did: the message says how to go on. Exit code 75."""
