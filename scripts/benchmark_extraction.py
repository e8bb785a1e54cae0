"""Benchmark of the extraction: batches under a budget of frames, against one sequence at a time, the plain form.

Ours is what `dygait extract` does, the writing of the folder and its checksums included; the other is a plain loop that
keeps features in memory. Weights are random, which changes no time. Both must give the same embeddings within 1e-5 of
the largest, and 1, 2 and 3 processes of one thread each must give the same bits, or the run fails.

    python scripts/benchmark_extraction.py                          # makes 200 sequences of 2 to 204 frames
    python scripts/benchmark_extraction.py --data STORE             # the test set of a packed store or a tree
    python scripts/benchmark_extraction.py --data STORE --sequences 300    # some of it, evenly over the lengths
    python scripts/benchmark_extraction.py --set evaluator_cfg.sampler.frames_budget=256    # with other settings
    python scripts/benchmark_extraction.py --quick                  # a small network, to see that it runs
    python scripts/benchmark_extraction.py --json FILE              # {"ratios", "details", "environment"}

The ratio `extraction` is the median, over alternating repeats, of the plain loop's seconds over ours: larger is better.
Peak memory is that of a separate process for each form; it and the number of processes are tried on at most 60
sequences, the longest and the shortest among them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from common import ROOT, alternate, ratio, write_figures
from dygait import distributed
from dygait.config import Config, load_config
from dygait.data.collate import collate
from dygait.data.dataset import Request, SequenceDataset
from dygait.data.loader import make_loader
from dygait.data.samplers import InferenceSampler
from dygait.data.stores import PackedWriter
from dygait.evaluation.features import load_features
from dygait.machine import available_cores, peak_memory
from dygait.runs import networks, sources
from dygait.testing.extraction import EmbeddingSettings, embed, extract

TOLERANCE = 1e-5
FEW = 60
WORLDS = (1, 2, 3)  # numbers of processes
CPU = torch.device("cpu")
SMALL = ("model_cfg.channels=[4,8,8]", "model_cfg.SeparateBNNecks.in_channels=8")
"""The overrides that make the default configuration's network small."""


class Case(NamedTuple):
    """The sequences to extract, and the network."""

    config: Config
    data: sources.Data
    source: sources.Source
    model: nn.Module


def make_store(folder: Path, count: int, longest: int) -> Path:
    """Write a packed store of test ids of CASIA-B, with lengths of sequences distributed as in that dataset."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.normal(0.4, 0.11, count) * longest, 2, longest).astype(int)
    lengths[:2] = 2, longest
    with PackedWriter(folder, "made for the benchmark") as writer:
        for number, frames in enumerate(lengths.tolist()):
            walk = np.zeros((frames, 64, 64), np.uint8)
            walk[:, 4:60, 20:44] = 255 * (rng.random((frames, 56, 24)) < 0.8)
            writer.write(f"{75 + number % 50:03d}", "nm-01", f"{number // 50:03d}", walk)
    return folder


def open_case(options: argparse.Namespace, few: bool = False) -> Case:
    """Open the data, and build the network; complete sequences are embedded, whose lengths differ."""
    sets = [
        f"data_cfg.dataset_root={options.data}",
        "data_cfg.num_workers=0",
        "evaluator_cfg.enable_float16=false",
        "evaluator_cfg.feature=embeddings",
        "evaluator_cfg.sampler.frames_window=null",
    ]
    config = load_config(options.cfgs, [*sets, *(SMALL if options.quick else ()), *options.set])
    data = sources.open_data(config)
    test_set = sources.build_test_source(config, data, CPU).dataset
    count = min(len(test_set), options.sequences or len(test_set), FEW if few else len(test_set))
    chosen = np.argsort(test_set.lengths(), kind="stable")[np.linspace(0, len(test_set) - 1, count).astype(int)]
    indices = np.sort(test_set.indices[chosen])
    dataset = SequenceDataset(
        test_set.store, indices, [], test_set.frames, test_set.transforms, config.data_cfg.data_in_use
    )  # fmt: skip
    settings = config.evaluator_cfg.sampler
    sampler = InferenceSampler(
        dataset.max_frames(),
        settings.frames_budget,
        settings.batch_size,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
    )
    source = sources.Source(dataset, make_loader(dataset, sampler, 0, False))
    return Case(config, data, source, networks.build_network(config, CPU).eval())


def one_at_a_time(case: Case) -> np.ndarray:
    """Return the features by a plain loop."""
    dataset, settings = case.source.dataset, EmbeddingSettings(case.config.evaluator_cfg.enable_float16)
    features = []
    for index in range(len(dataset)):
        batch = collate([dataset[Request(index, (0, 0, index))]])
        features.append(embed(case.model, batch, CPU, settings).features)
    return np.concatenate(features)


def ours(case: Case, folder: Path) -> np.ndarray | None:
    """Extract the features to a folder, and return them on rank 0."""
    saved = extract(case.config, case.data, case.source, case.model, CPU, folder, {})
    return None if saved is None else saved.features


def elsewhere(options: argparse.Namespace, launcher: list[str], *arguments: str) -> str:
    """Run this script with other arguments in separate processes, and return its output."""
    sets = [part for text in options.set for part in ("--set", text)]
    passed = ["--data", str(options.data), "--cfgs", str(options.cfgs), *sets, *(["--quick"] if options.quick else [])]
    command = [sys.executable, *launcher, __file__, *passed, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference in proportion to the largest number."""
    return float(np.abs(a - b).max() / np.abs(a).max())


def measure_processes(options: argparse.Namespace) -> dict[str, Any]:
    """Extract with some numbers of processes of one thread each, and with one of all threads."""
    features: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, world, threads in (*((str(w), w, 1) for w in WORLDS), ("all threads", 1, available_cores())):
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world}"] if world > 1 else []
            target = Path(folder) / name
            elsewhere(options, launcher, "--into", str(target), "--threads", str(threads))
            features[name] = np.array(load_features(target).features)
    differences = {world: difference(features["1"], features[str(world)]) for world in WORLDS}
    if any(differences.values()):
        raise SystemExit(f"several processes give other numbers than one: {differences}")
    return {
        "processes_identical": list(WORLDS),
        "all_threads_identical": bool(np.array_equal(features["1"], features["all threads"])),
        "all_threads_difference": difference(features["1"], features["all threads"]),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    peaks = {form: json.loads(elsewhere(options, [], "--peak", form)) for form in ("plain", "ours")}
    processes = measure_processes(options)
    case = open_case(options)
    lengths, sampler = case.source.dataset.lengths(), case.source.loader.batch_sampler

    def batched() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            return np.array(ours(case, Path(folder) / "features"))

    seconds, (plain, mine) = alternate(options.repeats, lambda: one_at_a_time(case), batched)
    relative = difference(plain, mine)
    if relative > TOLERANCE:
        raise SystemExit(f"the embeddings differ by {relative:.2g} of the largest")
    medians = {form: statistics.median(values) for form, values in zip(("plain", "ours"), seconds, strict=True)}
    padded = sum(sampler.num_padded_frames(number) for number in range(len(sampler.batches)))
    return {
        "ratios": {"extraction": ratio(*seconds)},
        "details": {
            "sequences": len(lengths),
            "frames": {"fewest": int(lengths.min()), "most": int(lengths.max()), "all": int(lengths.sum())},
            "frames_budget": case.config.evaluator_cfg.sampler.frames_budget,
            "batches": len(sampler.batches),
            "padding": round(1 - int(sampler.lengths.sum()) / padded, 4),
            "seconds": {form: round(value, 3) for form, value in medians.items()},
            "sequences_per_second": {form: round(len(lengths) / value, 2) for form, value in medians.items()},
            "relative_difference": relative,
            "peak_gib": {form: round(peak / 2**30, 2) for form, peak in peaks.items()},
            **processes,
        },
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Extraction in batches beside one sequence at a time.")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a packed store or a tree of pickles; else one is made"
    )
    parser.add_argument("--cfgs", type=Path, default=ROOT / "configs" / "Dygait_CASIA-B_cpu.yaml", metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key")
    parser.add_argument("--sequences", type=int, metavar="N", help="take so many, evenly over the lengths")
    parser.add_argument("--quick", action="store_true", help="a small network on short sequences")
    parser.add_argument("--repeats", type=int, default=3, help="alternating repeats (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--threads", type=int, default=available_cores(), help="threads (default: %(default)s)")
    parser.add_argument("--peak", choices=("plain", "ours"), help="only print the peak memory of one form")
    parser.add_argument("--into", type=Path, metavar="DIR", help="only extract some sequences to a folder")
    options = parser.parse_args()
    logging.getLogger("dygait").setLevel(logging.WARNING)
    with contextlib.ExitStack() as stack:
        if options.data is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store"
            options.data = make_store(folder, 50 if options.quick else 200, 20 if options.quick else 204)
        stack.enter_context(distributed.process_group())
        torch.set_num_threads(options.threads)
        if options.into is not None:
            ours(open_case(options, few=True), options.into)
            return 0
        if options.peak is not None:
            case = open_case(options, few=True)
            if options.peak == "plain":
                one_at_a_time(case)
            else:
                ours(case, Path(stack.enter_context(tempfile.TemporaryDirectory())) / "features")
            print(peak_memory())
            return 0
        result = measure(options)
    print(json.dumps(result["details"], indent=2))
    print(f"extraction {result['ratios']['extraction']:.2f} times as fast as one sequence at a time")
    write_figures(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
