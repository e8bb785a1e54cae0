"""Join the weights of several networks into one file: an ensemble, whose features are compared together.

    python scripts/join_weights.py small=small.safetensors large=output/SynGait/DyGait/large joined.safetensors

Each network gets a name, sees the silhouettes in its own resolution, and is named `joined.safetensors/small` when it is
to be used alone. Sources are as for `dygait test --weights`; averaged weights (`trainer_cfg.ema`) are preferred. All
must compare the same feature, with the same number of channels, in windows of the same length. The configuration of the
network with the largest input is that of the file, which `publish_weights.py` takes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dygait.deployment.pretrained import PretrainedModel, load_pretrained
from dygait.errors import UserError
from dygait.runs import published
from publish_weights import data_of


def joined(models: Mapping[str, PretrainedModel]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the weights of an ensemble of models, by name, and their record for `published.write`."""
    infos = {name: model.info for name, model in models.items()}
    for key in ("feature", "frames_step", "frames_window", "frame_rate"):
        values = {name: getattr(info, key) for name, info in infos.items() if key != "frame_rate" or info.frame_rate}
        if len(set(values.values())) > 1:
            raise UserError(f"the networks differ in {key}: {', '.join(f'{k}: {v}' for k, v in values.items())}")
    largest = max(infos.values(), key=lambda info: info.input_size or (0, 0))
    weights, members = {}, {}
    for name, model in models.items():
        head = getattr(model.network, "class_head", ())
        settings = infos[name].training["config"]["model_cfg"]
        necks = settings.get("SeparateBNNecks")
        members[name] = {k: v for k, v in settings.items() if k != "class_num" and v is not None}
        if necks is not None:
            members[name]["SeparateBNNecks"] = {k: v for k, v in necks.items() if k != "class_num"}
        weights |= {f"members.{name}.{k}": v for k, v in model.network.state_dict().items() if k not in head}
    config = largest.training["config"]
    model_cfg = {"model": "Ensemble", "input_size": list(largest.input_size or ()) or None, "members": members}
    record = {
        **{key: largest.training[key] for key in ("seed", "version", "averaged") if key in largest.training},
        "config": {**config, "model_cfg": model_cfg},
        "soup": {name: info.training.get("soup") for name, info in infos.items()},
        "frame_rate": next((info.frame_rate for info in infos.values() if info.frame_rate), None),
        "input_size": largest.input_size,
    }
    return weights, record


def main(arguments: Sequence[str] | None = None) -> int:
    """Join weights."""
    parser = argparse.ArgumentParser(description="Join the weights of several networks: an ensemble.")
    parser.add_argument("members", nargs="+", metavar="NAME=WEIGHTS", help="runs' folders, checkpoints, names")
    parser.add_argument("target", type=Path, metavar="FILE", help="is written: *.safetensors")
    options = parser.parse_args(arguments)
    try:
        published.check_target(options.target)
        sources = dict(member.partition("=")[::2] for member in options.members)
        if len(sources) != len(options.members) or not all(key.isidentifier() and sources[key] for key in sources):
            raise UserError("give each network another name: NAME=WEIGHTS, of letters, digits and _")
        weights, record = joined({name: load_pretrained(source) for name, source in sources.items()})
        data = list(dict.fromkeys(entry for source in sources.values() for entry in data_of(source)))
        published.write(options.target, weights, {**record, "data": data})
        load_pretrained(options.target)
    except UserError as error:
        print(f"join_weights: error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {options.target}: an ensemble of {', '.join(sources)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
