"""Comparison of heat maps of a skeleton and silhouettes together with each alone, on SynGait.

    python scripts/compare_modalities.py --output DIR                               # every cell: an hour, in bfloat16
    python scripts/compare_modalities.py --output DIR --cells '*/0'                 # some of them
    python scripts/compare_modalities.py --output DIR --cells                       # none: table of the finished cells
    python scripts/compare_modalities.py --output DIR --quick                       # two iterations each, to see it run

A cell MODEL/SEED is one training and its test: SkeletonGait, which sees heat maps, DeepGaitV2, which sees silhouettes,
and SkeletonGaitPP, which sees both, for a seed of people, network and batches. Widths, blocks, batches, iterations and
losses are the same, and so are the walks of a seed. The heat maps are those of the walkers' true joints.

A finished cell is a file in DIR/cells, and is not run again; a training that was interrupted resumes. From all finished
cells, DIR/modalities.json and DIR/modalities.md are made. Rank-1 of CASIA-B's protocol in percent, identical view
excluded. Differences are of the same seed. Intervals are those of the mean over seeds, 95 % of Student's t; of one
seed, of the bootstrap over its test ids.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import cells
from cells import over_seeds, text_of
from common import markdown_table

IN_USE = {"SkeletonGait": [True, False], "DeepGaitV2": [False, True], "SkeletonGaitPP": [True, True]}
"""Which files of a sequence a model reads: heat map, silhouette."""
BOTH = "SkeletonGaitPP"
GROUPS = ("NM", "BG", "CL")
FULL = {"iterations": 150, "batch": [8, 4], "clip": 12, "train_ids": 60, "test_ids": 20, "frames": "24-28"}
QUICK = {"iterations": 2, "batch": [2, 2], "clip": 3, "train_ids": 2, "test_ids": 2, "frames": "3"}


class Cell(NamedTuple):
    """One training and its test."""

    model: str
    seed: int


def model_cfg(model: str, classes: int) -> dict[str, Any]:
    """Return the configuration of a network of the smallest width that SkeletonGait++ supports."""
    shared = {"input_size": [32, 22], "bin_num": [8], "class_num": classes}
    if model == BOTH:
        return {"model": model, "Backbone": {"blocks": [1, 1, 1, 1], "C": 1}, **shared}
    channels = {"in_channels": 2 if model == "SkeletonGait" else 1, "channels": [32, 64, 128, 256]}
    return {"model": "DeepGaitV2", "Backbone": {"mode": "p3d", "layers": [1, 1, 1, 1], **channels}, **shared}


def configuration(cell: Cell, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the experiment of a cell."""
    keys = {"seed": cell.seed, "heatmaps": 1, **{key: settings[key] for key in ("train_ids", "test_ids", "frames")}}
    transform: Any = [{"type": "BaseSilCuttingTransform"}, {"type": "Resize", "size": [32, 22]}]
    if cell.model == BOTH:
        transform = [{"type": "Compose", "trf_cfg": transform}]  # one of all channels
    sampler = {"batch_size": settings["batch"], "frames_num_fixed": settings["clip"]}
    shared = cells.experiment(cell, settings["iterations"], 2e-3, transform, sampler, {})
    return {
        "data_cfg": {
            "dataset_name": "SynGait",
            "dataset_root": f"syngait://quick?{'&'.join(f'{key}={value}' for key, value in keys.items())}",
            "data_in_use": IN_USE[cell.model],
            "num_workers": 0,
        },
        "model_cfg": model_cfg(cell.model, settings["train_ids"]),
        "loss_cfg": [
            {"type": "TripletLoss", "margin": 0.2, "log_prefix": "triplet"},
            {"type": "CrossEntropyLoss", "scale": 8, "log_accuracy": True, "log_prefix": "softmax"},
        ],
        **shared,
        "evaluator_cfg": {**shared["evaluator_cfg"], "baseline": None},
    }


def run(cell: Cell, settings: dict[str, Any], folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and test a cell, and return its figures."""
    _, result, record = cells.train_and_test(cell, configuration(cell, settings), folder, device)
    return {
        **{group: result.percentages[group]["rank-1"] for group in GROUPS},
        "intervals": {group: list(result.intervals[group]["rank-1"]) for group in GROUPS},
        **record,
    }


def summarise(finished: dict[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each model, and one for each difference of SkeletonGait++ to a model: means over seeds."""
    by_model: dict[str, dict[int, dict[str, Any]]] = {model: {} for model in IN_USE}
    for cell, figures in finished.items():
        by_model[cell.model][cell.seed] = figures
    rows = []
    for model, by_seed in by_model.items():
        if by_seed:
            intervals = next(iter(by_seed.values()))["intervals"]
            means = {group: over_seeds([f[group] for f in by_seed.values()], intervals[group]) for group in GROUPS}
            rows.append({"row": model, "seeds": sorted(by_seed), "form": ".1f", **means})
    both = by_model.pop(BOTH)
    for model, by_seed in by_model.items():
        if seeds := sorted(by_seed.keys() & both.keys()):
            means = {g: over_seeds([both[seed][g] - by_seed[seed][g] for seed in seeds]) for g in GROUPS}
            rows.append({"row": f"{BOTH} - {model}", "seeds": seeds, "form": "+.1f", **means})
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [[row["row"], len(row["seeds"]), *(text_of(row[group], row["form"]) for group in GROUPS)] for row in rows]
    return markdown_table(lines, ("model", "seeds", *GROUPS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells."""
    description = "What a second modality is worth."
    parser = cells.parser_of("compare_modalities.py", description, "MODEL/SEED", FULL["iterations"])
    options = parser.parse_args(arguments)
    settings = cells.settings_of(options, FULL, QUICK)
    grid = [Cell(*names) for names in itertools.product(IN_USE, cells.SEEDS[: 1 if options.quick else None])]
    with cells.running(parser, options) as device:
        finished = cells.run_missing(
            options, settings, grid, "NM", lambda cell: run(cell, settings, options.output, device)
        )
        rows = summarise(finished)
        cells.write_tables(options.output / "modalities", rows, markdown(rows), finished)
    return 0


if __name__ == "__main__":
    sys.exit(main())
