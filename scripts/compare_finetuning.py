"""What weights are worth where there are few real people: whitened by them, fine-tuned, both, or trained from scratch.

    python scripts/compare_finetuning.py --data DATA --output DIR                           # every cell: hours
    python scripts/compare_finetuning.py --data DATA --output DIR --cells '*/5/*' '*/0/*'   # some of them
    python scripts/compare_finetuning.py --data DATA --output DIR --cells                   # none: tables and plot
    python scripts/compare_finetuning.py --data DATA --output DIR --quick                   # to see that it runs

A cell START/IDS/SEED is one use of people, and its test. `whitened` is the weights (`--weights`, by default those
that ship), whitened by these people as `dygait whiten --data` does, without training. `pretrained` is fine-tuned from
the weights, as `trainer_cfg.init_from` does, with fixed statistics of BatchNorm (`fix_BN`), `both` is the run of
`pretrained`, which must be finished, whitened by the same people, and `scratch` is trained from random weights. The
people are the first IDS of CASIA-B's ids 001-074 in an order that the seed draws, so that more ids include the fewer.
`pretrained/0/0` is the weights as they are. Iterations and batches are the same for both trainings; `--lr` are their
highest learning rates. Network, transform, losses, length of the clips, and what a test compares, are those of the
weights. A batch is 8 ids x 4 sequences; of fewer ids there are more sequences each.

A finished cell is a file in DIR/cells, and is not run again; a training that was interrupted resumes. From all finished
cells, DIR/finetuning.json, .md and .svg are made. Rank-1 in percent: gallery nm-01..04, probes nm-05,06, bg-01,02 and
cl-01,02, mean over views, identical view excluded, of the ids that `--ids` names. To choose a recipe, test others than
075-124, such as 050-074, which then do not train. Intervals are those of the mean over seeds, 95 % of Student's t; of
one seed, of the bootstrap over its test ids.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import cells
from cells import over_seeds, text_of
from common import ids_between, markdown_table
from dygait.data.partition import BUILT_IN_PARTITIONS
from dygait.data.stores import open_store
from dygait.deployment import load_pretrained
from dygait.deployment.pretrained import WeightsInfo, find_weights
from dygait.deployment.whitening import write_whitened
from dygait.errors import UserError
from dygait.files import write_atomically
from dygait.reporting.charts import Axis, LineChart, Series, percent_axis
from dygait.reporting.page import environment

STARTS = ("pretrained", "whitened", "both", "scratch")
GROUPS = ("NM", "BG", "CL")
FULL = {"iterations": 300, "batch": [8, 4], "ids": [0, 5, 10, 20, 40, 74]}
QUICK = {"iterations": 2, "batch": [2, 2], "ids": [0, 2]}
PICTURE = """\
{% from "charts.html" import lines %}
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ 360 * charts|length + 8 }} 300"
font-family="system-ui, sans-serif" role="img" aria-label="Rank-1 by the number of real ids">
<style><![CDATA[{% include "style.css" %} .chart text { font-size: 13px; }]]></style>
<rect width="100%" height="100%" style="fill: var(--paper)"/>
{% for one in charts %}
<g class="chart" transform="translate({{ 360 * loop.index0 }} 48)">
{% if loop.first %}{% for series in one.series %}
<g class="s{{ series.style }}" transform="translate({{ 46 + 130 * loop.index0 }} -32)"><path d="M0 0H24" class="line"/>
<text x="30" y="4">{{ series.name }}</text></g>
{% endfor %}{% endif %}
<text x="{{ one.left + 6 }}" y="0" font-weight="650">{{ one.description }}</text>
{{ lines(one) }}
</g>
{% endfor %}
</svg>
"""


class Cell(NamedTuple):
    """One use of some people, and its test."""

    start: str
    ids: int
    seed: int


def cells_of(ids: Sequence[int], seeds: Sequence[int]) -> list[Cell]:
    """Return all cells; the weights as they are, and whitened by everybody, do not depend on the seed."""
    everybody = "whitened", len(BUILT_IN_PARTITIONS["CASIA-B"]().train)
    trained = [Cell(*names) for names in itertools.product(STARTS, [count for count in ids if count], seeds)]
    return [Cell(STARTS[0], 0, 0), *(cell for cell in trained if cell[:2] != everybody or cell.seed == seeds[0])]


def partition(cell: Cell, on_disk: Sequence[str], tested: str) -> dict[str, list[str]]:
    """Return the ids that a cell trains on and is tested on; UserError if there are too few."""
    test = ids_between(tested, on_disk)
    pool = [name for name in BUILT_IN_PARTITIONS["CASIA-B"]().train if name in on_disk and name not in test]
    if len(pool) < cell.ids or len(test) < 2:
        raise UserError(f"--data has {len(test)} ids of {tested}, and {len(pool)} others of 001-074, not {cell.ids}")
    random.Random(cell.seed).shuffle(pool)
    return {"TRAIN_SET": sorted(pool[: cell.ids]), "TEST_SET": test}


def configuration(cell: Cell, settings: dict[str, Any], weights: WeightsInfo, data: Path) -> dict[str, Any]:
    """Return the experiment of a cell, without its partition."""
    model_cfg = {key: value for key, value in weights.model_cfg.items() if key != "class_num"}
    if necks := model_cfg.get("SeparateBNNecks"):
        model_cfg["SeparateBNNecks"] = {key: value for key, value in necks.items() if key != "class_num"}
    people, each = settings["batch"]
    fewer = min(people, cell.ids or people)
    trained = weights.training["config"]
    clips = {
        "batch_size": [fewer, people * each // fewer],
        "frames_num_fixed": trained["trainer_cfg"]["sampler"]["frames_num_fixed"],
        "frames_step": weights.frames_step,
    }
    pretrained_lr, scratch_lr = settings["lr"]
    lr = scratch_lr if cell.start == "scratch" else pretrained_lr
    compared = {"frames_step": weights.frames_step, "frames_window": weights.frames_window}
    content = {
        "data_cfg": {"dataset_name": "CASIA-B", "dataset_root": str(data.resolve()), "num_workers": 0},
        "model_cfg": model_cfg,
        "loss_cfg": trained["loss_cfg"],
        **cells.experiment(cell, settings["iterations"], lr, weights.transform, clips, compared),
    }
    content["evaluator_cfg"]["feature"] = weights.feature
    if not cell.ids or cell.start in ("whitened", "both"):
        content["evaluator_cfg"]["restore_hint"] = weights.name
    elif cell.start == "pretrained":
        content["trainer_cfg"].update(init_from=weights.name, fix_BN=True)
    return content


def run(
    cell: Cell, settings: dict[str, Any], weights: WeightsInfo, data: Path, folder: Path, device: torch.device
) -> dict[str, Any]:
    """Train or whiten, and test a cell, and return its figures."""
    store = open_store(data)
    people = partition(cell, store.table.ids.names, settings["tested"])
    path = folder / "partitions" / f"{cells.name_of(cell, '_')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(people) + "\n")
    if cell.start in ("whitened", "both"):
        source = weights.name
        if cell.start == "both":
            twin = cells.name_of(cell._replace(start="pretrained"), "_")
            source = str(folder / "runs" / "CASIA-B" / weights.model_cfg["model"] / twin)
            if not Path(source).exists():
                raise UserError(f"{source} is missing: run the cell {twin.replace('_', '/')} first")
        target = path.with_suffix(".safetensors").resolve()
        write_whitened(load_pretrained(source), store, store.table.indices(people["TRAIN_SET"]).tolist(), target)
        weights = dataclasses.replace(weights, name=str(target))
    content = configuration(cell, settings, weights, data)
    content["data_cfg"]["dataset_partition"] = str(path.resolve())
    _, result, took = cells.train_and_test(cell, content, folder, device)
    return {
        **{group: result.percentages[group]["rank-1"] for group in GROUPS},
        "intervals": {group: list(result.intervals[group]["rank-1"]) for group in GROUPS},
        "data": store.fingerprint,
        **took,
    }


def summarise(finished: dict[Cell, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each start and number of ids."""
    rows = []
    for (start, ids), group_of_cells in itertools.groupby(finished, lambda cell: cell[:2]):
        seeds = list(group_of_cells)
        figures = [finished[cell] for cell in seeds]
        means = {group: over_seeds([f[group] for f in figures], figures[0]["intervals"][group]) for group in GROUPS}
        rows.append({"start": start, "ids": ids, "seeds": [cell.seed for cell in seeds], **means})
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    lines = [
        [row["ids"], row["start"], len(row["seeds"]), *(text_of(row[group]) for group in GROUPS)]
        for row in sorted(rows, key=lambda row: row["ids"])
    ]
    return markdown_table(lines, ("ids", "start", "seeds", *GROUPS))


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Return a chart of each group as one SVG, which is light or dark as the page is."""
    shown = sorted({row["ids"] for row in rows})
    x = Axis("real ids", 0, max(*shown, 1), tuple((count, str(count)) for count in shown))
    y = percent_axis("rank-1, %", min(min(row[group]) for row in rows for group in GROUPS))
    charts = []
    for group in GROUPS:
        series = []
        for style, start in enumerate(STARTS):
            if not (by_ids := {row["ids"]: row[group] for row in rows if row["start"] == start}):
                continue
            halves = [(values[2] - values[1]) / 2 for values in by_ids.values()]
            notes = [f"{start}, {count} ids: {text_of(values)}" for count, values in by_ids.items()]
            series.append(Series(start, [*by_ids], [values[0] for values in by_ids.values()], style, halves, notes))
        charts.append(LineChart(group, series, x, y))
    return environment().from_string(PICTURE).render(charts=charts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cells."""
    description = "What weights are worth where there are few real people."
    parser = cells.parser_of("compare_finetuning.py", description, "START/IDS/SEED", FULL["iterations"])
    parser.add_argument("--data", type=Path, required=True, help="CASIA-B as a tree of pickles or a packed store")
    parser.add_argument("--weights", default="syngait/small", help="as of `dygait test` (default: %(default)s)")
    parser.add_argument("--ids", default="075-124", help="first and last id that is tested (default: %(default)s)")
    parser.add_argument("--lr", nargs=2, type=float, default=[2e-4, 2e-3], metavar=("PRETRAINED", "SCRATCH"),
                        help="the highest of each training (default: 2e-4 2e-3)")  # fmt: skip
    options = parser.parse_args(arguments)
    settings = {**cells.settings_of(options, FULL, QUICK), "lr": options.lr, "tested": options.ids}
    every = cells_of(settings["ids"], cells.SEEDS[: 1 if options.quick else None])
    with cells.running(parser, options) as device:
        path = str(find_weights(options.weights).resolve())  # of a run's folder, its newest checkpoint
        weights = dataclasses.replace(load_pretrained(path).info, name=path)
        settings["weights"] = weights.identity
        finished = cells.run_missing(
            options, settings, every, "NM",
            lambda cell: run(cell, settings, weights, options.data, options.output, device),
        )  # fmt: skip
        rows = summarise(finished)
        cells.write_tables(options.output / "finetuning", rows, markdown(rows), finished)
        write_atomically(options.output / "finetuning.svg", picture(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
