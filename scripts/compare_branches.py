"""What the branches of the Dynamic Augmentation Module are for: people who differ only in gait, only in body, in both.

    python scripts/compare_branches.py --output DIR                       # every cell: hours on one core
    python scripts/compare_branches.py --output DIR --cells 'gait/*/0'    # some of them, in several processes if wanted
    python scripts/compare_branches.py --output DIR --cells               # none: the tables of those that are there
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

import argparse
import fnmatch
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from scipy.stats import t

from common import environment, markdown_table
from dygait import distributed
from dygait.config import load_config
from dygait.errors import Interrupted, UserError
from dygait.files import write_atomically
from dygait.runs.folder import git_state, now
from dygait.testing.scoring import run_test
from dygait.training import checks
from dygait.training.loop import train
from dygait.training.restore_hint import AUTO

SPLITS = ("gait", "body", "both")
MODELS = ("DyGait", "no-subtraction", "no-spatial", "GaitGL", "GaitBase", "GaitSet")
SEEDS = (0, 1, 2)
BASELINE = "GEI"
MEASURES = ("across views", "same view")
CHECKS = [partial(checks.component_problems, phase=phase) for phase in ("train", "test")]
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

    @property
    def name(self) -> str:
        """SPLIT/MODEL/SEED."""
        return "/".join(map(str, self))


def model_cfg(model: str, channels: Sequence[int]) -> dict[str, Any]:
    """Return the configuration of a network, without a class head where it can be without."""
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
    iterations = settings["iterations"]
    transform = [{"type": "BaseSilCuttingTransform"}, {"type": "Resize", "size": [32, 22]}]
    name = cell.name.replace("/", "_")
    schedule = {"scheduler": "OneCycleLR", "max_lr": 2e-3, "total_steps": iterations, "pct_start": 0.15}
    return {
        "data_cfg": {
            "dataset_name": "SynGait",
            "dataset_root": f"syngait://quick?{'&'.join(f'{key}={value}' for key, value in keys.items())}",
            "num_workers": 0,
        },
        "model_cfg": model_cfg(cell.model, settings["channels"]),
        "loss_cfg": [{"type": "TripletLoss", "margin": 0.2, "log_prefix": "triplet"}],
        "optimizer_cfg": {"solver": "AdamW", "lr": 2e-3, "betas": [0.9, 0.99], "weight_decay": 0.02},
        "scheduler_cfg": {**schedule, "cycle_momentum": False},
        "trainer_cfg": {
            "enable_float16": False,
            "total_iter": iterations,
            "save_iter": max(1, iterations // 10),
            "restore_hint": AUTO,
            "log_iter": max(1, iterations // 20),
            "save_name": name,
            "seed": cell.seed,
            "sampler": {"type": "TripletSampler", "batch_size": settings["batch"], "sample_type": "fixed_ordered",
                        "frames_num_fixed": 30},
            "transform": transform,
        },
        "evaluator_cfg": {
            "save_name": name,
            "baseline": "gei",
            "verification": False,
            "open_set": False,
            "report": False,
            "keep_features": "none",
            "sampler": {"sample_type": "all_ordered"},
            "transform": transform,
            "protocol": {
                "name": "branches",
                "gallery": {"types": "nm-0[1-4]"},
                "groups": {"NM": {"probes": {"types": "nm-0[56]"}}},
                "one_view_at_a_time": True,
                "exclusion": "identical view",
            },
        },
    }  # fmt: skip


def run(cell: Cell, settings: dict[str, Any], folder: Path, device: torch.device) -> dict[str, Any]:
    """Train and test a cell, and return its figures."""
    path = folder / "configs" / f"{cell.name.replace('/', '_')}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(configuration(cell, settings), sort_keys=False))
    config = load_config(path, checks=CHECKS)
    start, cpu = time.perf_counter(), time.process_time()
    trained = train(config, device, folder / "runs")
    result = run_test(config, device, folder / "runs")
    assert result is not None
    (baseline,) = trained.checkpoints.glob("*-gei.json")
    of_images = json.loads(baseline.read_text())
    matrix = result.matrices["NM"].values.diagonal()
    return {
        "split": cell.split,
        "model": cell.model,
        "seed": cell.seed,
        "settings": settings,
        "across views": result.percentages["NM"]["rank-1"],
        "same view": float(matrix.mean()),
        "interval": list(result.intervals["NM"]["rank-1"]),
        "chance": result.chance["NM"],
        BASELINE: of_images["percentages"]["NM"]["rank-1"],
        "seconds": time.perf_counter() - start,
        "processor seconds": time.process_time() - cpu,
        "git": git_state(),
        "date": now(),
        "environment": environment(device=device.type),
    }


def finished(folder: Path, settings: dict[str, Any]) -> dict[Cell, dict[str, Any]]:
    """Return the figures of the finished cells in a folder; UserError if some were made with other settings."""
    found = {}
    for path in sorted((folder / "cells").glob("*.json")):
        figures = json.loads(path.read_text())
        if figures["settings"] != settings:
            raise UserError(f"{path} was made with other settings ({figures['settings']}): give another --output")
        found[Cell(figures["split"], figures["model"], figures["seed"])] = figures
    return dict(sorted(found.items(), key=lambda item: _position(item[0])))


def _position(cell: Cell) -> tuple[int, int, int]:
    return SPLITS.index(cell.split), MODELS.index(cell.model), cell.seed


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of several values and its 95 % interval, by Student's t."""
    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def summarise(cells: dict[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each split and model: means over seeds, and differences to DyGait of the same seed."""
    rows = []
    for split, model in itertools.product(SPLITS, MODELS):
        own = {cell.seed: figures for cell, figures in cells.items() if (cell.split, cell.model) == (split, model)}
        if not own:
            continue
        row: dict[str, Any] = {"split": split, "model": model, "seeds": sorted(own)}
        for measure in MEASURES:
            values = [figures[measure] for figures in own.values()]
            row[measure] = list(mean_interval(values)) if len(values) > 1 else values
        if len(own) == 1:
            row["across views"] += next(iter(own.values()))["interval"]
        paired = [
            figures["across views"] - cells[first]["across views"]
            for seed, figures in own.items()
            if (first := Cell(split, "DyGait", seed)) in cells and model != "DyGait"
        ]
        if paired:
            row["difference"] = list(mean_interval(paired)) if len(paired) > 1 else paired
        rows.append(row)
    for split in SPLITS:
        images = {cell.seed: figures[BASELINE] for cell, figures in cells.items() if cell.split == split}
        if images:
            values = list(images.values())
            mean = list(mean_interval(values)) if len(values) > 1 else values
            rows.append({"split": split, "model": BASELINE, "seeds": sorted(images), "across views": mean})
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    head = ("people differ in", "model", "seeds", *MEASURES, "to DyGait, across views")
    cells = [
        [row["split"], row["model"], len(row["seeds"]),
         *(_text(row.get(key), "+.1f" if key == "difference" else ".1f") for key in (*MEASURES, "difference"))]
        for row in sorted(rows, key=lambda row: SPLITS.index(row["split"]))
    ]  # fmt: skip
    return markdown_table(cells, head)


def _text(values: Sequence[float] | None, form: str) -> str:
    if not values:
        return ""
    mean, *interval = (format(value, form) for value in values)
    return f"{mean} ({' to '.join(interval)})" if interval else mean


def write_tables(folder: Path, cells: dict[Cell, dict[str, Any]]) -> str:
    """Write DIR/branches.json and DIR/branches.md, and return the table."""
    rows = summarise(cells)
    write_atomically(
        folder / "branches.json", json.dumps({"rows": rows, "cells": list(cells.values())}, indent=1) + "\n"
    )
    write_atomically(folder / "branches.md", markdown(rows))
    return markdown(rows)


def chosen(patterns: Sequence[str] | None, seeds: Iterable[int]) -> list[Cell]:
    """Return the cells that match a pattern, those of the first seed first; None: all."""
    every = [Cell(split, model, seed) for seed, split, model in itertools.product(seeds, SPLITS, MODELS)]
    found = [cell for cell in every if patterns is None or any(fnmatch.fnmatchcase(cell.name, p) for p in patterns)]
    for pattern in patterns or ():
        if not fnmatch.filter([cell.name for cell in every], pattern):
            raise UserError(f"--cells {pattern}: there is no such cell, such as {every[0].name}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells."""
    parser = argparse.ArgumentParser(description="What the branches of the DAM are for.")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where cells and runs are kept")
    parser.add_argument("--cells", nargs="*", metavar="SPLIT/MODEL/SEED", help="with wildcards; none: tables only")
    parser.add_argument("--iterations", type=int, metavar="N", help=f"of each training (default: {FULL['iterations']})")
    parser.add_argument("--quick", action="store_true", help="a few people and two iterations, to see that it runs")
    parser.add_argument("--threads", type=int, metavar="N", help="of this process (default: as many as cores)")
    options = parser.parse_args(arguments)
    settings = dict(QUICK if options.quick else FULL)
    if options.iterations is not None:
        settings["iterations"] = options.iterations
    with distributed.process_group() as device:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            for cell in chosen(options.cells, SEEDS[:1] if options.quick else SEEDS):
                if cell in finished(options.output, settings):
                    continue
                figures = run(cell, settings, options.output, device)
                path = options.output / "cells" / f"{cell.name.replace('/', '_')}.json"
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, json.dumps(figures, indent=1) + "\n")
                print(f"{cell.name}: {figures['across views']:.1f} in {figures['seconds']:.0f} s", flush=True)
            cells = finished(options.output, settings)
            if not cells:
                raise UserError(f"{options.output / 'cells'} has no finished cell: run some with --cells")
            print(write_tables(options.output, cells), end="")
        except (UserError, Interrupted) as error:
            raise SystemExit(f"compare_branches.py: {error}") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
