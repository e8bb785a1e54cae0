"""`dygait convert`: rename the weights of a checkpoint, from or to OpenGait's names."""

from __future__ import annotations

import argparse
from pathlib import Path

from dygait.commands.experiment import add_config_arguments, load_experiment

HELP = "rename a checkpoint's weights, from or to OpenGait"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write the weights of a checkpoint under DyGait's or OpenGait's names, without the state of the optimiser."
    )
    parser.add_argument("source", metavar="IN", help="the checkpoint, with either names")
    parser.add_argument("target", metavar="OUT", help="the file to write, which must not exist")
    parser.add_argument("--to", required=True, choices=("opengait", "dygait"), help="whose names to write")
    add_config_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    import torch

    from dygait.errors import UserError
    from dygait.files import write_errors
    from dygait.modeling.opengait_names import in_opengait_names, opengait_names
    from dygait.runs import checkpoint_files, networks

    config = load_experiment(arguments.cfgs, arguments.set, "train")
    target = Path(arguments.target)
    if target.exists():
        raise UserError(f"{target} exists; name another file, or remove it")
    with torch.device("meta"):  # only names and shapes are needed
        model = networks.build_network(config, torch.device("meta"))
    if not opengait_names(model):
        raise UserError(f"OpenGait's names for {config.model_cfg.model} are not known")
    state = checkpoint_files.read_checkpoint(arguments.source)
    weights, report = checkpoint_files.compare(model, state["model"])
    if not report.complete:
        raise UserError(f"the checkpoint {arguments.source} does not match the model of {arguments.cfgs}: {report}")
    if arguments.to == "opengait":
        weights = in_opengait_names(model, weights)
    with write_errors(target):
        checkpoint_files.save_checkpoint(target, {"model": weights, "iteration": state.get("iteration", 0)})
    names = "OpenGait's" if arguments.to == "opengait" else "DyGait's"
    print(f"wrote {len(weights)} tensors to {target}, under {names} names")
