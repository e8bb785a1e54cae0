"""Weights of a run as a file that anyone can use, with a model card in the form of Hugging Face.

    python scripts/publish_weights.py output/SynGait/DyGait/mine --name syngait --results "CASIA-B=result.json"
    python scripts/publish_weights.py whitened.safetensors --name mine --commit 0123abc
    python scripts/publish_weights.py mine-60000.pt --name mine --output weights --frame-rate 25 --limitations where.md

Writes NAME/NAME.safetensors and NAME/MODEL_CARD.md to the package's folder of weights or to another: the averaged
weights where the run has them, without the class head, with configuration, seed, commit and checksum. `--results` are
results of tests (the JSON beside a checkpoint), each with the title of its dataset, such as "CASIA-B, ids 075-124". The
weights are stored in float16 if rank-1 on synthetic walkers of another seed (`--check`) is the same as in float32, else
in float32; `--dtype` decides without a test. The card says that nobody real was in the training data, so those must be
SynGait's: an address, or a folder of `dygait synth`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import torch
import yaml

from common import ROOT
from dygait.config.schema import check_name
from dygait.deployment.pretrained import PretrainedModel, find_weights, load_pretrained
from dygait.deployment.scoring import score
from dygait.errors import UserError
from dygait.files import write_atomically
from dygait.runs import published
from dygait.runs.checkpoint_files import read_checkpoint, weights_of
from dygait.synthetic.settings import is_address
from dygait.untrusted import at, parse_json, read_bytes

TYPES = {"float16": torch.float16, "float32": torch.float32}
LARGEST = 6 * 2**20
CHECK = "syngait://quick?seed=2026&train_ids=0&test_ids=20"
CARD = ROOT / "scripts" / "model_card.md.jinja"


class Row(NamedTuple):
    """A line of the table of results."""

    dataset: str
    group: str
    measure: str
    value: float
    interval: tuple[float, float] | None
    chance: float
    probes: int
    worst: tuple[str, float] | None  # probe view, and its value


def training_data(config: Mapping[str, Any]) -> list[str]:
    """Return the SynGait that a training saw: its addresses, or settings of its folders as JSON, the earliest first.

    A training that started from other weights (`init_from`) has seen their data. UserError if anything is not SynGait.
    """
    start = at(config, "trainer_cfg", "init_from")
    earlier = [] if start is None else data_of(start)
    roots = at(config, "data_cfg", "dataset_root")
    roots = roots if isinstance(roots, list) else [roots]
    for root in roots:
        if not (is_address(root) or "SynGait" in settings_of(root).get("generator", "")):
            raise UserError(
                f"the training data {root} are not SynGait's, neither an address nor a folder of `dygait synth`; the "
                f"card says that no real person was in them: publish weights that were trained on SynGait alone"
            )
    current = [root if is_address(root) else json.dumps(settings_of(root), sort_keys=True) for root in roots]
    return list(dict.fromkeys([*earlier, *current]))


def data_of(start: str) -> list[str]:
    """Return the SynGait that was seen by the weights from which a training started."""
    try:
        state = read_checkpoint(find_weights(start), mapped=True)
    except UserError as error:
        raise UserError(
            f"the training started from {start}, and what that was trained on is unknown: {error}"
        ) from None
    published_data: list[str] | None = state.get("data")
    return training_data(state.get("config") or {}) if published_data is None else published_data


def settings_of(root: Any) -> dict[str, Any]:
    """Return the settings with which `dygait synth` made a folder; empty for other folders."""
    try:
        settings = parse_json(read_bytes(Path(str(root)) / "settings.json"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def commit_of(path: Path, explicit: str | None) -> str:
    """Return the commit that a checkpoint was trained with: `explicit`, or else the one that its run recorded."""
    if explicit is not None:
        return explicit
    record = path.parent.parent / "logs" / "run_train.json"
    try:
        git = at(parse_json(read_bytes(record)), "git")
    except (OSError, ValueError):
        git = None
    commit = at(git, "commit")
    if not commit:
        raise UserError(f"{record} does not say with which commit {path.name} was trained; name it with --commit")
    return f"{commit}, with local changes" if at(git, "changed") else str(commit)


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose paths are reduced to names, as folders differ between machines."""
    copy = json.loads(json.dumps(config))
    for section, key in (("data_cfg", "dataset_root"), ("data_cfg", "dataset_partition"), ("trainer_cfg", "init_from"),
                         ("trainer_cfg", "restore_hint"), ("evaluator_cfg", "restore_hint")):  # fmt: skip
        value = at(copy, section, key)
        if isinstance(value, str) and not is_address(value):
            copy[section][key] = Path(value).name
    return copy


def record_of(model: PretrainedModel, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the metadata of the weights that is written to their file."""
    training = model.info.training
    frames = np.zeros((1, 64, 64), np.uint8)
    return {
        "name": options.name,
        "config": portable(training["config"]),
        "seed": training.get("seed"),
        **{
            key: training[key] for key in ("iteration", "averaged", "soup", "whitened") if training.get(key) is not None
        },
        "version": training.get("version"),
        "commit": commit_of(path, options.commit),
        "data": training.get("data") or training_data(training["config"]),
        "frame_rate": options.frame_rate,
        "input_size": list(model.transform(frames, np.random.default_rng(0)).shape[1:]),
    }


def in_type(weights: Mapping[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    """Return weights with their floating-point tensors in a type."""
    return {name: w.to(TYPES[dtype]) if w.is_floating_point() else w for name, w in weights.items()}


def headlines(model: PretrainedModel, address: str) -> dict[str, float]:
    """Return rank-1 of each group of synthetic walkers."""
    return {group: round(value, 6) for group, value in score(model, address).headlines.items()}


def choose_type(path: Path, weights: Mapping[str, torch.Tensor], record: Mapping[str, Any], address: str) -> str:
    """Write both types in turn to `path`, and return float16 if no group of the walkers is recognised less often."""
    rank_1 = {}
    for dtype in TYPES:
        published.write(path, in_type(weights, dtype), record)
        rank_1[dtype] = headlines(load_pretrained(path), address)
        print(f"{dtype}: rank-1 {rank_1[dtype]} on {address}", flush=True)
    same = all(rank_1["float16"][group] >= value for group, value in rank_1["float32"].items())
    return "float16" if same else "float32"


def publish(options: argparse.Namespace) -> Path:
    """Write the weights, and return their path."""
    source = find_weights(options.source)
    model = load_pretrained(source)
    record = record_of(model, source, options)
    head = getattr(model.network, "class_head", ())
    weights = {n: w for n, w in weights_of(read_checkpoint(source)).items() if n not in head}
    target = published.path_of(options.name, options.output)
    draft = target.with_name(f".draft{published.SUFFIX}")
    try:
        dtype = options.dtype or choose_type(draft, weights, record, options.check)
        published.write(draft, in_type(weights, dtype), {**record, "dtype": dtype})
        size = draft.stat().st_size
        if size > LARGEST:
            raise UserError(f"the weights have {size / 2**20:.1f} MiB in {dtype}; {LARGEST // 2**20} MiB is the most")
        load_pretrained(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    print(f"{target}: {size / 2**20:.2f} MiB, {dtype}")
    return target


def rows_of(title: str, path: str) -> list[Row]:
    """Return the lines of a test's result, as `dygait test` writes it."""
    try:
        result = parse_json(read_bytes(path))
        measure = result["measures"][0]
        rows = []
        for group, values in result["percentages"].items():
            by_view = values.get("per view", {})
            ends = at(result, "intervals", group, measure)
            rows.append(
                Row(
                    title, group, measure, float(values[measure]), None if ends is None else tuple(ends),
                    float(result["chance"][group]), int(result["counts"][group]["probes"]),
                    min(by_view.items(), key=lambda pair: pair[1]) if by_view else None,
                )
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"--results: {path} is not the result of a test as `dygait test` writes it: {error!r}"
        ) from None
    return rows


def front_matter(name: str, license_name: str, rows: Sequence[Row]) -> str:
    """Return the YAML at the head of a card."""
    datasets = dict.fromkeys(row.dataset for row in rows)
    results = [
        {
            "task": {"type": "image-feature-extraction", "name": "Gait recognition"},
            "dataset": {"type": dataset.split(",")[0].lower(), "name": dataset},
            "metrics": [
                {"type": "accuracy", "name": f"{row.measure} {row.group}, percent", "value": round(row.value, 1)}
                for row in rows
                if row.dataset == dataset
            ],
        }
        for dataset in datasets
    ]
    content = {
        "license": "other",
        "license_name": license_name.lower(),
        "library_name": "dygait",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["gait-recognition", "silhouettes", "biometrics", "synthetic-data"],
        **({"model-index": [{"name": name, "results": results}]} if rows else {}),
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def write_card(target: Path, options: argparse.Namespace, rows: Sequence[Row], limitations: str) -> Path:
    """Write MODEL_CARD.md beside the weights, from their metadata and the results of tests."""
    record = published.read(target)
    weights = record.pop("model")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    card = environment.from_string(CARD.read_text(encoding="utf-8")).render(
        front_matter=front_matter(options.name, options.license, rows),
        record=record,
        config=record["config"],
        parameters=sum(w.numel() for w in weights.values() if w.is_floating_point()),
        size=target.stat().st_size,
        rows=rows,
        limitations=limitations,
        license=options.license,
    )
    path = target.with_name("MODEL_CARD.md")
    write_atomically(path, card.rstrip() + "\n")
    print(path)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish weights."""
    parser = argparse.ArgumentParser(description="Write weights with a model card.")
    parser.add_argument("source", help="a run's folder, or a checkpoint")
    parser.add_argument("--name", required=True, help="the name of the weights")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write NAME/ (default: in the package)")
    parser.add_argument(
        "--results",
        action="append",
        default=[],
        metavar="TITLE=FILE",
        help="a test's JSON, with the title of its dataset; may be given many times",
    )
    parser.add_argument("--frame-rate", type=float, metavar="F", help="frames a second of the training data")
    parser.add_argument("--commit", help="of the training (default: as the run recorded it)")
    parser.add_argument("--dtype", choices=tuple(TYPES), help="default: float16 if it costs no rank-1, else float32")
    parser.add_argument("--check", default=CHECK, metavar="ADDRESS", help="the walkers on which the types are compared")
    parser.add_argument("--limitations", type=Path, metavar="FILE", help="Markdown for the section on where it fails")
    parser.add_argument("--license", default="PolyForm-Noncommercial-1.0.0", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        check_name(options.name)
        if unnamed := [text for text in options.results if "=" not in text]:
            raise UserError(f"--results {unnamed[0]}: write TITLE=FILE, with the title of the dataset")
        rows = [row for text in options.results for row in rows_of(*text.rsplit("=", 1))]
        limitations = "" if options.limitations is None else options.limitations.read_text(encoding="utf-8").strip()
        write_card(publish(options), options, rows, limitations)
    except (ValueError, OSError) as error:  # a UserError is a ValueError
        print(f"publish_weights: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
