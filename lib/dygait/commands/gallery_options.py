"""Options of the commands that use a gallery."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dygait.identification import Gallery


def add_gallery_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that name a gallery and its weights."""
    parser.add_argument("--gallery", type=Path, required=True, metavar="DIR", help="the gallery's folder")
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE|RUN",
        help="the model that embeds silhouettes: weights that ship, a checkpoint, a run's folder, or a file of `dygait "
        "export` (.onnx runs in onnxruntime); default: that of the gallery, syngait for a new one",
    )


def add_window_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a new gallery's windows."""
    parser.add_argument("--window", type=int, metavar="N", help="frames of a window, for a new gallery (default: 30)")
    parser.add_argument("--step", type=int, metavar="N", help="frames from one window to the next (default: 15)")


def open_gallery(arguments: argparse.Namespace, **keywords: Any) -> Gallery:
    """Open the gallery that the options name; `keywords` as for `Gallery.open`."""
    from dygait.identification import Gallery

    keywords |= {name: getattr(arguments, name) for name in ("window", "step") if hasattr(arguments, name)}
    return Gallery.open(arguments.gallery, arguments.weights, **keywords)
