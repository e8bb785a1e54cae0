"""Comparisons of many small trainings. Each is a cell with a file of figures; finished cells are skipped."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from scipy.stats import t

from common import environment
from dygait import distributed
from dygait.config import load_config
from dygait.errors import Interrupted, UserError
from dygait.evaluation import EvaluationResult
from dygait.files import write_atomically
from dygait.runs.folder import RunFolder, git_state, now, run_folder
from dygait.runs.precision import resolve_precision
from dygait.testing.scoring import run_test
from dygait.training import checks
from dygait.training.loop import train
from dygait.training.restore_hint import AUTO

SEEDS = (0, 1, 2)
CHECKS = [partial(checks.component_problems, phase=phase) for phase in ("train", "test")]
Cell = Any
"""A NamedTuple whose last field is `seed`; its name is its values, with slashes between them."""


def name_of(cell: Cell, separator: str = "/") -> str:
    """Return the name of a cell, or of its files, by the separator."""
    return separator.join(map(str, cell))


def parser_of(script: str, description: str, fields: str, iterations: int) -> argparse.ArgumentParser:
    """Return the options of a comparison; `fields` shows the name of a cell."""
    parser = argparse.ArgumentParser(script, description=description)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="where cells and runs are kept")
    parser.add_argument("--cells", nargs="*", metavar=fields, help="with wildcards; none: tables only")
    parser.add_argument("--iterations", type=int, metavar="N", help=f"of each training (default: {iterations})")
    parser.add_argument("--quick", action="store_true", help="a few people and two iterations, to see that it runs")
    parser.add_argument("--threads", type=int, metavar="N", help="of this process (default: as many as cores)")
    return parser


def settings_of(options: argparse.Namespace, full: dict[str, Any], quick: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that all cells of a folder share."""
    settings = dict(quick if options.quick else full)
    if options.iterations is not None:
        settings["iterations"] = options.iterations
    return settings


@contextlib.contextmanager
def running(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Iterator[torch.device]:
    """Start the process group; a `UserError` or `Interrupted` ends the script with its message."""
    with distributed.process_group() as device:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        try:
            yield device
        except (UserError, Interrupted) as error:
            raise SystemExit(f"{parser.prog}: {error}") from None


def experiment(
    cell: Cell, iterations: int, lr: float, transform: Any, training: dict[str, Any], test: dict[str, Any]
) -> dict[str, Any]:
    """Return the sections of an experiment that do not depend on the comparison.

    Args:
        iterations: of the training, which are one cycle of the learning rate with the maximum `lr`.
        training, test: further keys of the sampler of each phase.
    """
    name, seed = name_of(cell, "_"), cell[-1]
    return {
        "optimizer_cfg": {"solver": "AdamW", "lr": lr, "betas": [0.9, 0.99], "weight_decay": 0.02},
        "scheduler_cfg": {
            "scheduler": "OneCycleLR", "max_lr": lr, "total_steps": iterations, "pct_start": 0.15,
            "cycle_momentum": False,
        },
        "trainer_cfg": {
            "enable_float16": "auto",
            "total_iter": iterations,
            "save_iter": max(1, iterations // 10),
            "keep_last": 1,
            "restore_hint": AUTO,
            "log_iter": max(1, iterations // 20),
            "save_name": name,
            "seed": seed,
            "sampler": {"type": "TripletSampler", "sample_type": "fixed_ordered", **training},
            "transform": transform,
        },
        "evaluator_cfg": {
            "save_name": name,
            "verification": False,
            "open_set": False,
            "report": False,
            "enable_float16": "auto",
            "keep_features": "none",
            "sampler": {"sample_type": "all_ordered", **test},
            "transform": transform,
        },
    }  # fmt: skip


def train_and_test(
    cell: Cell, content: dict[str, Any], folder: Path, device: torch.device
) -> tuple[RunFolder, EvaluationResult, dict[str, Any]]:
    """Train and test an experiment; return its run, its result, and time, commit and environment (with the precision).

    If `evaluator_cfg.restore_hint` names weights, they are tested without a training.
    """
    path = folder / "configs" / f"{name_of(cell, '_')}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(content, sort_keys=False))
    config = load_config(path, checks=CHECKS)
    start, cpu = time.perf_counter(), time.process_time()
    if config.evaluator_cfg.restore_hint == 0:
        train(config, device, folder / "runs")
    result = run_test(config, device, folder / "runs")
    assert result is not None
    record = {
        "seconds": time.perf_counter() - start,
        "processor seconds": time.process_time() - cpu,
        "git": git_state(),
        "date": now(),
        "environment": environment(
            device=device.type, half_precision=resolve_precision(config, device).evaluator_cfg.enable_float16
        ),
    }
    return run_folder(folder / "runs", config, config.evaluator_cfg.save_name), result, record


def run_missing(
    options: argparse.Namespace,
    settings: dict[str, Any],
    all_cells: Sequence[Cell],
    headline: str,
    run: Callable[[Cell], dict[str, Any]],
) -> dict[Cell, dict[str, Any]]:
    """Run the chosen cells that are not finished, and return the figures of all finished ones; UserError without any.

    Args:
        all_cells: all cells of the comparison.
        headline: the key of the figure that is printed.
    """
    for cell in chosen(options.cells, all_cells):
        if cell in finished(options.output, settings, all_cells):
            continue
        figures = {**cell._asdict(), "settings": settings, **run(cell)}
        path = _path(options.output, cell)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(figures, indent=1) + "\n")
        print(f"{name_of(cell)}: {figures[headline]:.1f} in {figures['seconds']:.0f} s", flush=True)
    figures_of_cells = finished(options.output, settings, all_cells)
    if not figures_of_cells:
        raise UserError(f"{options.output / 'cells'} has no finished cell: run some with --cells")
    return figures_of_cells


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{name_of(cell, '_')}.json"


def finished(folder: Path, settings: dict[str, Any], all_cells: Sequence[Cell]) -> dict[Cell, dict[str, Any]]:
    """Return the figures of the finished cells in a folder; UserError if some have other settings."""
    figures_of_cells = {}
    for cell in all_cells:
        path = _path(folder, cell)
        if not path.exists():
            continue
        figures = json.loads(path.read_text())
        if figures["settings"] != settings:
            raise UserError(f"{path} was made with other settings ({figures['settings']}): give another --output")
        figures_of_cells[cell] = figures
    return figures_of_cells


def chosen(patterns: Sequence[str] | None, all_cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that match a pattern, sorted by seed; None for all."""
    for pattern in patterns or ():
        if not fnmatch.filter(map(name_of, all_cells), pattern):
            raise UserError(f"--cells {pattern}: there is no such cell, such as {name_of(all_cells[0])}")
    matching = [c for c in all_cells if patterns is None or any(fnmatch.fnmatchcase(name_of(c), p) for p in patterns)]
    return sorted(matching, key=lambda cell: cell[-1])


def over_seeds(values: Sequence[float], interval: Sequence[float] = ()) -> list[float]:
    """Return the mean of several seeds and its 95 % interval, by Student's t; of one seed, its value and `interval`."""
    if len(values) == 1:
        return [*values, *interval]
    mean = statistics.fmean(values)
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return [mean, mean - half, mean + half]


def text_of(values: Sequence[float] | None, form: str = ".1f") -> str:
    """Format a value with its interval, if there is one; empty without a value."""
    if not values:
        return ""
    mean, *interval = (format(value, form) for value in values)
    return f"{mean} ({' to '.join(interval)})" if interval else mean


def write_tables(stem: Path, rows: list[dict[str, Any]], table: str, cells: dict[Cell, dict[str, Any]]) -> None:
    """Write a comparison as STEM.json, with the figures of its cells, and as STEM.md, and print the table."""
    content = {"rows": rows, "cells": list(cells.values())}
    write_atomically(stem.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
    write_atomically(stem.with_suffix(".md"), table)
    print(table, end="")
