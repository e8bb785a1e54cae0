"""Average the weights of several trainings of one network: a model soup.

    python scripts/average_weights.py RUN RUN ... FILE.safetensors
    python scripts/average_weights.py third.safetensors output/SynGait/DyGait/fifth soup.safetensors --shares 0.5 0.5

Networks that were trained on from the same weights often recognise more on average than each does, on data unlike
their own above all (Wortsman et al., *Model Soups*, ICML 2022). Sources are as for `dygait test --weights`; averaged
weights (`trainer_cfg.ema`) are preferred. The file has the configuration of the last source, the data of all, and no
class head; `publish_weights.py` takes it. With `--part-weights`, what is compared is the feature after the BNNecks,
each part of which counts by a number.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dygait.deployment.pretrained import find_weights, load_pretrained
from dygait.deployment.whitening import weigh_parts
from dygait.errors import UserError
from dygait.runs import published
from dygait.runs.checkpoint_files import read_checkpoint, weights_of
from publish_weights import data_of


def average(states: Sequence[dict[str, torch.Tensor]], shares: Sequence[float]) -> dict[str, torch.Tensor]:
    """Return the weighted mean of weights, float32; UserError if they are not of one network."""
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(other != shapes[0] for other in shapes):
        raise UserError("the weights are of different networks: only those of one network have a mean")
    means = {}
    for name, last in states[-1].items():
        parts = [share * state[name].double() for share, state in zip(shares, states, strict=True)]
        means[name] = torch.stack(parts).sum(0).float() if last.is_floating_point() else last
    return means


def main(arguments: Sequence[str] | None = None) -> int:
    """Average weights."""
    parser = argparse.ArgumentParser(description="Average the weights of several trainings of one network.")
    parser.add_argument("sources", nargs="+", metavar="WEIGHTS", help="runs' folders, checkpoints, names")
    parser.add_argument("target", type=Path, metavar="FILE", help="is written: *.safetensors")
    parser.add_argument("--shares", type=float, nargs="+", metavar="S", help="of each (default: equal)")
    parser.add_argument("--part-weights", type=float, nargs="+", metavar="W", help="as for `dygait whiten`")
    options = parser.parse_args(arguments)
    try:
        paths = [find_weights(source) for source in options.sources]
        shares = options.shares or [1 / len(paths)] * len(paths)
        if len(shares) != len(paths) or abs(sum(shares) - 1) > 1e-6:
            raise UserError(f"--shares: give {len(paths)} numbers that add up to 1")
        published.check_target(options.target)
        model = load_pretrained(paths[-1])
        head = getattr(model.network, "class_head", ())
        states = [weights_of(read_checkpoint(path)) for path in paths]
        mean = average([{n: w for n, w in state.items() if n not in head} for state in states], shares)
        config = model.info.training["config"]
        if options.part_weights:
            config = weigh_parts(model, options.part_weights)
            config["evaluator_cfg"] = {**config["evaluator_cfg"], "feature": "after_neck"}
        record = {
            **model.info.training,
            "config": config,
            "data": list(dict.fromkeys(data for path in paths for data in data_of(str(path)))),
            "soup": [{"weights": path.name, "share": share} for path, share in zip(paths, shares, strict=True)],
            "frame_rate": model.info.frame_rate,
            "input_size": model.info.input_size,
        }
        published.write(options.target, mean, record)
    except UserError as error:
        print(f"average_weights: error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.target}: the mean of {len(paths)} trainings")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
