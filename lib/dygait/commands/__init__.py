"""The subcommands of `dygait`, one file each: `HELP`, `add_arguments(parser)`, which declares the options, and `main`.

`main` returns an exit code, or None for success; the command line reports the `UserError` or `Interrupted` that it
raises. Importing a command imports nothing heavy, so that `--help` is fast.
"""

NAMES = (
    "train",
    "test",
    "extract",
    "evaluate",
    "cross",
    "report",
    "explain",
    "profile",
    "status",
    "debug-batch",
    "convert",
    "export",
    "whiten",
    "synth",
    "silhouettes",
    "enroll",
    "identify",
    "gallery",
    "calibrate",
    "prepare",
    "heatmaps",
    "pack",
    "unpack",
    "verify",
    "info",
)
