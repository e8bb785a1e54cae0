"""The subcommands of `dygait`, a file each: `HELP`, `add_arguments(parser)`, and `main(arguments)` -> exit code.

Importing one imports nothing heavy, so that `--help` answers at once.
"""

NAMES = (
    "train",
    "test",
    "extract",
    "evaluate",
    "report",
    "profile",
    "status",
    "debug-batch",
    "convert",
    "synth",
    "prepare",
    "pack",
    "unpack",
    "verify",
    "info",
)
