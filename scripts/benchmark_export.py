"""Latency and rank-1 of a network in PyTorch and in its exported forms.

    python scripts/benchmark_export.py                                   # the weights that ship, on two threads
    python scripts/benchmark_export.py output/SynGait/DyGait/mine        # those of a run, or of a checkpoint
    python scripts/benchmark_export.py WEIGHTS --check "syngait://quick?seed=9&train_ids=0&test_ids=20"
    python scripts/benchmark_export.py --quick                           # a small network, to see that it runs
    python scripts/benchmark_export.py --json FILE --markdown FILE

Forms: PyTorch in float32; in bfloat16, where a convolution in it is faster than in float32; torch.export; ONNX in
float32; ONNX in int8 (dynamic: weights are quantised, and each layer's input as it is computed). A window is 30 frames.
Latencies are medians over alternating repeats. A ratio is PyTorch's float32 over the form, so that larger is better.
Rank-1 is that of the test ids of synthetic walkers, the mean of NM, BG and CL, identical view excluded.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from common import markdown_table, write_figures
from dygait.deployment import EmbeddingModel, PretrainedModel, load_exported, load_pretrained
from dygait.deployment.exporting import export, input_size, quantise
from dygait.deployment.scoring import score
from dygait.errors import UserError
from dygait.modeling import build_model
from dygait.runs import published
from dygait.runs.precision import half_precision, speed_on_cpu

CPU = torch.device("cpu")
WINDOW = 30
BATCHES = (1, 8)
CHECK = "syngait://quick?seed=2026&train_ids=0&test_ids=20"
QUICK_CHECK = "syngait://quick?seed=2026&train_ids=0&test_ids=2&frames=4"
PLAIN = "PyTorch, float32"
SMALL = {"model": "GaitSet", "in_channels": [1, 4, 8, 8], "bin_num": [4]}


class Half:
    """A model that computes in bfloat16."""

    def __init__(self, model: PretrainedModel) -> None:
        self.info, self.transform = model.info, model.transform
        self._model = model

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C, P) for float (N, S, H, W)."""
        with half_precision(CPU, True):
            return self._model.features(silhouettes, lengths).float()


def small_model(folder: Path) -> PretrainedModel:
    """Return a small network with random weights."""
    transform = [{"type": "BaseSilCuttingTransform"}, {"type": "Resize", "size": [32, 22]}]
    config = {"model_cfg": SMALL, "evaluator_cfg": {"transform": transform}}
    path = folder / f"small{published.SUFFIX}"
    published.write(path, build_model(SMALL).state_dict(), {"config": config})
    return load_pretrained(path)


def forms(model: PretrainedModel, folder: Path) -> dict[str, EmbeddingModel]:
    """Return the model in every form that this machine supports."""
    models: dict[str, EmbeddingModel] = {PLAIN: model}
    if speed_on_cpu(torch.bfloat16) > 1:
        models["PyTorch, bfloat16"] = Half(model)
    for name, form, suffix in (("torch.export, float32", "exported", ".pt2"), ("ONNX, float32", "onnx", ".onnx")):
        export(model, folder / f"float32{suffix}", form)
        models[name] = load_exported(folder / f"float32{suffix}")
    models["ONNX, int8 dynamic"] = load_exported(quantise(folder / "float32.onnx", folder / "int8.onnx"))
    return models


@torch.inference_mode()
def latencies(models: Mapping[str, EmbeddingModel], size: Sequence[int], repeats: int) -> dict[str, dict[int, float]]:
    """Return the median milliseconds of a batch of windows, by form and number of windows."""
    seconds: dict[str, dict[int, list[float]]] = {name: {n: [] for n in BATCHES} for name in models}
    for batch in BATCHES:
        silhouettes = (torch.rand(batch, WINDOW, *size, generator=torch.Generator().manual_seed(0)) > 0.5).float()
        for repeat in range(1 + repeats):
            for name, model in models.items():
                start = time.perf_counter()
                model.features(silhouettes)
                if repeat:
                    seconds[name][batch].append(time.perf_counter() - start)
    return {name: {n: 1000 * statistics.median(taken) for n, taken in s.items()} for name, s in seconds.items()}


def measure(model: PretrainedModel, check: str, repeats: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Return latency and rank-1 of every form."""
    models = forms(model, folder)
    taken = latencies(models, input_size(model), repeats)
    rows = {}
    for name, form in models.items():
        groups = score(form, check).headlines
        rows[name] = {"milliseconds": taken[name], "rank_1": groups, "mean_rank_1": statistics.fmean(groups.values())}
        print(f"{name}: {rows[name]}", flush=True)
    return rows


def markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table."""
    plain = rows[PLAIN]
    cells = [
        [
            name,
            *(f"{row['milliseconds'][n]:.1f}" for n in BATCHES),
            f"{plain['milliseconds'][1] / row['milliseconds'][1]:.2f}",
            f"{row['mean_rank_1']:.1f}",
            f"{row['mean_rank_1'] - plain['mean_rank_1']:+.1f}",
        ]
        for name, row in rows.items()
    ]
    head = ("form", *(f"{n} window{'s' * (n > 1)}, ms" for n in BATCHES), "times as fast", "rank-1", "against float32")
    return markdown_table(cells, head)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Latency and rank-1 of exported networks.")
    parser.add_argument("weights", nargs="?", default="syngait/small", help="a name, a checkpoint or a run's folder")
    parser.add_argument("--check", metavar="ADDRESS", help=f"the walkers that are recognised (default: {CHECK})")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=15, help="of each latency (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small network with random weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = small_model(Path(folder)) if options.quick else load_pretrained(options.weights)
            check = options.check or (QUICK_CHECK if options.quick else CHECK)
            rows = measure(model, check, options.repeats, Path(folder))
    except UserError as error:
        print(f"benchmark_export: error: {error}", file=sys.stderr)
        return 2
    table = markdown(rows)
    print(table)
    if options.markdown is not None:
        options.markdown.write_text(table, encoding="utf-8")
    if options.json is not None:
        plain = rows[PLAIN]["milliseconds"][1]
        keys = {name: name.lower().replace(", ", "_").replace(".", "_").replace(" ", "_") for name in rows}
        figures = {
            "ratios": {keys[name]: plain / row["milliseconds"][1] for name, row in rows.items() if name != PLAIN},
            "details": {"weights": model.info.name, "identity": model.info.identity, "check": check, "forms": rows},
        }
        write_figures(options.json, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
