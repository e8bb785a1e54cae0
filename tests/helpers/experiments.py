"""Tiny experiments on generated trees of pickles: their configuration, and running them in this or another process."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml

from conftest import make_tree
from dygait import cli, machine
from dygait.config import load_config
from dygait.evaluation.features import Rows, SavedFeatures, assemble, clear, load_features
from dygait.runs import networks, sources
from dygait.runs.checkpoint_files import load_weights
from dygait.testing.extraction import extract

REPOSITORY = Path(__file__).resolve().parents[2]
TYPES = ("nm-01", "nm-05", "bg-01", "cl-01")
IDS = tuple(f"{i:03d}" for i in range(1, 7))
TRAIN, TEST = IDS[:4], IDS[4:]


def tiny_settings(root: Path, partition: Path) -> dict[str, Any]:
    """Return the sections of a configuration that trains in a moment: 32x22 silhouettes, a small network."""
    return {
        "data_cfg": {
            "dataset_name": "CASIA-B",
            "dataset_root": str(root),
            "dataset_partition": str(partition),
            "num_workers": 0,
        },
        "model_cfg": {
            "model": "DyGait",
            "variant": "shallow",
            "channels": [4, 8, 8],
            "input_size": [32, 22],
            "bin_num": [4],
            "SeparateBNNecks": {"class_num": len(TRAIN), "in_channels": 8, "parts_num": 4},
        },
        "loss_cfg": [
            {"type": "TripletLoss", "margin": 0.2, "log_prefix": "triplet"},
            {"type": "CrossEntropyLoss", "scale": 16, "log_accuracy": True, "log_prefix": "softmax"},
        ],
        "optimizer_cfg": {"solver": "AdamW", "lr": 0.003},
        "scheduler_cfg": {"scheduler": "MultiStepLR", "milestones": [5], "gamma": 0.5},
        "trainer_cfg": {
            "enable_float16": False,
            "total_iter": 4,
            "save_iter": 2,
            "log_iter": 1,
            "save_name": "tiny",
            "sampler": {"batch_size": [2, 2], "sample_type": "fixed_ordered", "frames_num_fixed": 9},
            "transform": {"type": "BaseSilTransform"},
        },
        "evaluator_cfg": {
            "save_name": "tiny",
            "baseline": "gei",
            "sampler": {"batch_size": 4, "sample_type": "all_ordered"},
            "transform": {"type": "BaseSilTransform"},
        },
    }


@dataclass(frozen=True)
class Experiment:
    """A configuration on disk, the tree that it reads and the folder that it writes to."""

    config: Path  # the YAML file
    root: Path  # the tree of pickles
    output: Path  # the value of `--output`

    @property
    def folder(self) -> Path:
        return self.output / "CASIA-B" / "DyGait" / "tiny"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def at(self, output: Path) -> Experiment:
        return Experiment(self.config, self.root, output)

    def arguments(self, phase: str, *overrides: str) -> list[str]:
        options = [part for override in overrides for part in ("--set", override)]
        return ["--cfgs", str(self.config), "--phase", phase, "--output", str(self.output), *options]

    def run(self, phase: str, *overrides: str, options: Sequence[str] = ()) -> int:
        """Run in this process, on one thread, and return the exit code."""
        with mock.patch.object(machine, "available_cores", return_value=1):
            return cli.runner([*self.arguments(phase, *overrides), *options])

    def train(self, *overrides: str) -> list[dict[str, float]]:
        """Train in this process, which must succeed, and return the statistics of every iteration."""
        assert self.run("train", *overrides) == 0
        return self.scalars()

    def scalars(self) -> list[dict[str, float]]:
        """Return the logged statistics of every iteration."""
        return [json.loads(line) for line in (self.folder / "logs" / "scalars.jsonl").read_text().splitlines()]

    def checkpoint(self, iteration: int) -> dict[str, Any]:
        path = self.checkpoints / f"tiny-{iteration:05d}.pt"
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state


def make_experiment(folder: Path, **tree: Any) -> Experiment:
    """Write a tree, a partition (four ids train, two test) and a tiny configuration into a folder."""
    root = make_tree(folder / "data", **{"ids": IDS, "types": TYPES, "size": (32, 22), **tree})
    partition = folder / "partition.json"
    partition.write_text(json.dumps({"TRAIN_SET": TRAIN, "TEST_SET": TEST}))
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(tiny_settings(root, partition), sort_keys=False))
    return Experiment(config, root, folder / "output")


def save_features(
    folder: Path,
    features: np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    lengths: Sequence[int],
    origin: Mapping[str, Any] | None = None,
    half: bool = False,
    gei: np.ndarray | None = None,
) -> Path:
    """Write features as `extract` does."""
    rows = Rows(np.arange(len(features)), np.asarray(lengths, np.int64), features, gei).stored(half)
    return assemble(clear(folder), (ids, types, views), [rows], origin or {})


def features_of(
    experiment: Experiment,
    *overrides: str,
    folder: Path | None = None,
    device: torch.device = torch.device("cpu"),  # noqa: B008 - it never changes
    **keywords: Any,
) -> SavedFeatures:
    """Extract the features of the test set with the checkpoint of iteration 2, into `folder` or a temporary one.

    `keywords` are those of `extract`. With several processes, each calls it and gets all features.
    """
    config = load_config(experiment.config, overrides)
    data = sources.open_data(config)
    model = networks.build_network(config, device)
    load_weights(model, experiment.checkpoints / "tiny-00002.pt")
    source = sources.build_test_source(config, data, device)
    with tempfile.TemporaryDirectory() as temporary:
        target = folder or Path(temporary) / "features"
        extract(config, data, source, model, device, target, {}, **keywords)
        saved = load_features(target)
        copies = {"features": np.array(saved.features), "gei": None if saved.gei is None else np.array(saved.gei)}
    return dataclasses.replace(saved, **copies)  # copied, because the file that is mapped is removed


def free_port() -> int:
    """Return an unused port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def environment(**extra: str) -> dict[str, str]:
    """Return environment variables for a command, with which Python imports from the source tree."""
    rest = filter(None, [os.environ.get("PYTHONPATH")])  # may hold what is not installed beside Python
    path = os.pathsep.join([str(REPOSITORY / "lib"), str(REPOSITORY / "tests"), *rest])
    return {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "passive", "CUDA_VISIBLE_DEVICES": "", **extra}


def command(*arguments: str, timeout: float = 400, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run Python with arguments in the root of the repository, and return its exit code and output."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )
