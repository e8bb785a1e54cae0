"""`dygait profile`: measure a training step."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dygait.commands.experiment import add_config_arguments, load_experiment
from dygait.commands.messages import write_file

HELP = "measure the cost of a training step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure a training step of a configuration: parameters, multiply-adds, memory, and the time of every phase "
        "and layer. Uses the data of the configuration or, without them, an example batch."
    )
    add_config_arguments(parser)
    parser.add_argument("--batch", type=int, nargs=2, metavar=("P", "K"), help="default: the configuration's batch")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: the GPU, if there is one")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="steps to time (default: %(default)s)")
    parser.add_argument("--trace", type=Path, metavar="DIR", help="write a trace of a step, for TensorBoard and Chrome")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument(
        "--find-batch", action="store_true", help="only find the largest P for which the batch fits in memory"
    )


def main(args: argparse.Namespace) -> None:
    import torch

    from dygait import distributed
    from dygait.errors import UserError
    from dygait.files import write_errors
    from dygait.logs import start_logging
    from dygait.profiling import largest_batch, text
    from dygait.profiling.profile import profile

    if args.steps < 1:
        raise UserError("--steps: at least 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no GPU here that PyTorch can use")
    if args.json is not None:
        with write_errors(f"--json {args.json}"):
            args.json.parent.mkdir(parents=True, exist_ok=True)
    overrides = list(args.set)
    if args.batch is not None:
        overrides.append(f"trainer_cfg.sampler.batch_size={args.batch}")
    config = load_experiment(args.cfgs, overrides, "train")
    start_logging()
    with distributed.process_group() as default_device:
        device = default_device if args.device is None else torch.device(args.device)
        if args.find_batch:
            result = largest_batch.find_batch(config, device, print)
            print(largest_batch.to_text(result))
        else:
            result = profile(config, device, args.steps, args.trace)
            print(text.to_text(result))
    if args.trace is not None and args.trace.is_dir():
        print(f"trace: {args.trace}")
    if args.json is not None:
        write_file(args.json, json.dumps(result, indent=2) + "\n")
