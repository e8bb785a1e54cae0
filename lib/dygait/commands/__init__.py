"""The subcommands of `dygait`, one file each: `HELP`, `add_arguments(parser)`, and `main(arguments)` -> exit code.

Importing them imports nothing heavy, so that `--help` is fast.
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
