"""Ablation of the branches of the Dynamic Augmentation Module on people who differ in gait, in body, or in both.

    python scripts/compare_branches.py --output DIR                       # every cell: hours on one core
    python scripts/compare_branches.py --output DIR --cells 'gait/*/0'    # some of them, also in parallel processes
    python scripts/compare_branches.py --output DIR --cells               # none: tables of the finished cells
    python scripts/compare_branches.py --output DIR --quick               # two iterations each, to see that it runs

A cell SPLIT/MODEL/SEED is one training and its test: of a split of SynGait (`people.differ`), of a model, and of a
seed for people, network and batches. DyGait, its twin without the subtraction of the temporal mean
(`dynamic: false`), DyGait without its spatial branch, GaitGL, GaitBase, and GaitSet, which does not see the order of
frames, have equal channels, batches, iterations and loss: the triplet loss alone, as GaitSet has no class head. The
people of the test are not those of the training; all wear everyday clothes.

A finished cell is a file in DIR/cells, and is not run again; a training that was interrupted resumes. The tables,
DIR/branches.json and DIR/branches.md, are made from all finished cells. Rank-1: gallery nm-01..04, probes nm-05,06, one
view at a time; "across views": identical view excluded. "GEI": nearest neighbour on gait energy images, no network.
Intervals are those of the mean over seeds, 95 % of Student's t; of one seed, of the bootstrap over its test subjects.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import cells
from cells import over_seeds, text_of
from common import markdown_table

SPLITS = ("gait", "body", "both")
MODELS = ("DyGait", "no-subtraction", "no-spatial", "GaitGL", "GaitBase", "GaitSet")
BASELINE = "GEI"
MEASURES = ("across views", "same view")
FULL = {
    "channels": [8, 16, 32],
    "iterations": 300,
    "batch": [8, 4],
    "train_ids": 1000,
    "test_ids": 20,
    "frames": "36-40",
}
QUICK = {"channels": [4, 4, 4], "iterations": 2, "batch": [2, 2], "train_ids": 4, "test_ids": 2, "frames": "9"}


class Cell(NamedTuple):
    """One training and its test."""

    split: str
    model: str
    seed: int


def model_cfg(model: str, channels: Sequence[int]) -> dict[str, Any]:
    """Return the configuration of a network, without a class head if it is optional."""
    c0, c1, c2 = channels
    shared = {"input_size": [32, 22], "bin_num": [16]}
    if model == "GaitSet":
        return {"model": "GaitSet", "in_channels": [1, *channels], **shared, "bin_num": [8, 4, 2, 1]}
    if model == "GaitGL":
        return {"model": "GaitGL", "variant": "shallow", "channels": [*channels], **shared, "bin_num": [32]}
    if model == "GaitBase":
        backbone = {"type": "ResNet9", "block": "BasicBlock", "channels": [c0, c1, c2, c2], "layers": [1, 1, 1, 1],
                    "strides": [1, 2, 1, 1], "maxpool": False}  # fmt: skip
        return {"model": "GaitBase", "backbone_cfg": backbone, **shared, "SeparateBNNecks": {"parts_num": 16}}
    ablations = {"DyGait": {}, "no-subtraction": {"dynamic": False}, "no-spatial": {"spatial": False}}
    return {
        "model": "DyGait",
        "variant": "shallow",
        "channels": [*channels],
        "norm": "batch",
        **shared,
        **ablations[model],
    }


def configuration(cell: Cell, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the experiment of a cell."""
    people = {key: settings[key] for key in ("train_ids", "test_ids", "frames")}
    keys = {"seed": cell.seed, **people, "people.differ": cell.split, "people.walks": "6,0,0"}
    transform = [{"type": "BaseSilCuttingTransform"}, {"type": "Resize", "size": [32, 22]}]
    sampler = {"batch_size": settings["batch"], "frames_num_fixed": 30}
    shared = cells.experiment(cell, settings["iterations"], 2e-3, transform, sampler, {})
    return {
        "data_cfg": {
            "dataset_name": "SynGait",
            "dataset_root": f"syngait://quick?{'&'.join(f'{key}={value}' for key, value in keys.items())}",
            "num_workers": 0,
        },
        "model_cfg": model_cfg(cell.model, settings["channels"]),
        "loss_cfg": [{"type": "TripletLoss", "margin": 0.2, "log_prefix": "triplet"}],
        **shared,
        "evaluator_cfg": {
            **shared["evaluator_cfg"],
            "baseline": "gei",
            "protocol": {
                "name": "branches",
                "gallery": {"types": "nm-0[1-4]"},
                "groups": {"NM": {"probes": {"types": "nm-0[56]"}}},
                "one_view_at_a_time": True,
                "exclusion": "identical view",
            },
        },
    }


def run(cell: Cell, settings: dict[str, Any], folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and test a cell, and return its figures."""
    trained_run, result, record = cells.train_and_test(cell, configuration(cell, settings), folder, device)
    (baseline,) = trained_run.checkpoints.glob("*-gei.json")
    gei_result = json.loads(baseline.read_text())
    return {
        "across views": result.percentages["NM"]["rank-1"],
        "same view": float(result.matrices["NM"].values.diagonal().mean()),
        "interval": list(result.intervals["NM"]["rank-1"]),
        "chance": result.chance["NM"],
        BASELINE: gei_result["percentages"]["NM"]["rank-1"],
        **record,
    }


def summarise(finished: dict[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each split and model: means over seeds, and differences to DyGait of the same seed."""
    rows = []
    for split, model in itertools.product(SPLITS, MODELS):
        by_seed = {c.seed: figures for c, figures in finished.items() if (c.split, c.model) == (split, model)}
        if not by_seed:
            continue
        row: dict[str, Any] = {"split": split, "model": model, "seeds": sorted(by_seed)}
        intervals = {"across views": next(iter(by_seed.values()))["interval"]}
        for measure in MEASURES:
            row[measure] = over_seeds([figures[measure] for figures in by_seed.values()], intervals.get(measure, ()))
        paired = [
            figures["across views"] - finished[first]["across views"]
            for seed, figures in by_seed.items()
            if (first := Cell(split, "DyGait", seed)) in finished and model != "DyGait"
        ]
        if paired:
            row["difference"] = over_seeds(paired)
        rows.append(row)
    for split in SPLITS:
        gei_by_seed = {cell.seed: figures[BASELINE] for cell, figures in finished.items() if cell.split == split}
        if gei_by_seed:
            mean = over_seeds(list(gei_by_seed.values()))
            rows.append({"split": split, "model": BASELINE, "seeds": sorted(gei_by_seed), "across views": mean})
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    head = ("people differ in", "model", "seeds", *MEASURES, "to DyGait, across views")
    lines = [
        [row["split"], row["model"], len(row["seeds"]),
         *(text_of(row.get(measure)) for measure in MEASURES), text_of(row.get("difference"), "+.1f")]
        for row in sorted(rows, key=lambda row: SPLITS.index(row["split"]))
    ]  # fmt: skip
    return markdown_table(lines, head)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells."""
    description = "What the branches of the DAM are for."
    parser = cells.parser_of("compare_branches.py", description, "SPLIT/MODEL/SEED", FULL["iterations"])
    options = parser.parse_args(arguments)
    settings = cells.settings_of(options, FULL, QUICK)
    grid = [Cell(*names) for names in itertools.product(SPLITS, MODELS, cells.SEEDS[: 1 if options.quick else None])]
    with cells.running(parser, options) as device:
        finished = cells.run_missing(
            options, settings, grid, "across views", lambda cell: run(cell, settings, options.output, device)
        )
        rows = summarise(finished)
        cells.write_tables(options.output / "branches", rows, markdown(rows), finished)
    return 0


if __name__ == "__main__":
    sys.exit(main())
