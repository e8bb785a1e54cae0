"""The subcommands of `dygait`, one module each, with `HELP`, `add_arguments(parser)` and `main(arguments)`.

`main` returns an exit code, or None for success; `dygait.cli` reports the `UserError` or `Interrupted` that it raises.
The modules import heavy packages inside `main` only, so that `--help` is fast.
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
