"""`dygait export`: export a trained network to other runtimes."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "export weights to ONNX or torch.export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Export a trained network, from silhouettes and lengths to features, as ONNX or as a torch.export program. The "
        "file is written only if it gives the same features as PyTorch."
    )
    parser.add_argument(
        "source", metavar="WEIGHTS", help="a name of weights that ship, a checkpoint, or a run's folder"
    )
    parser.add_argument("target", metavar="FILE", type=Path, help="the file to write: *.onnx or *.pt2")
    parser.add_argument("--to", required=True, choices=("onnx", "exported"), help="onnx, or torch.export's exported")
    parser.add_argument("--int8", action="store_true", help="ONNX: quantise to int8, dynamically; features change")


def main(arguments: argparse.Namespace) -> None:
    from dygait.deployment import load_pretrained
    from dygait.deployment.exporting import export

    model = load_pretrained(arguments.source)
    difference = export(model, arguments.target, arguments.to, arguments.int8)
    size = arguments.target.stat().st_size / 2**20
    accuracy = f"its features differ from PyTorch's by {difference:.1e} of the largest"
    print(f"wrote {arguments.target}, {size:.1f} MiB; {accuracy}")
