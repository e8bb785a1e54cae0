"""The benchmark of the loader: it runs, both ways see the same frames, and its figures have the agreed names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data import TripletSampler, open_store
from helpers.experiments import REPOSITORY, environment
from helpers.scripts import load_script

SCRIPT = REPOSITORY / "scripts" / "benchmark_data.py"


@pytest.fixture
def module() -> ModuleType:
    return load_script("benchmark_data")


def test_both_ways_give_the_same_numbers(silhouette_tree: TreeFactory, module: ModuleType) -> None:
    """Sequences of just thirty frames leave no choice of frames."""
    people = [f"{i:03d}" for i in range(8)]
    tree = open_store(silhouette_tree(ids=people, types=["nm-01"], views=["000"], size=(64, 64), frames=(30, 30)))

    def sampler(count: int) -> TripletSampler:
        return TripletSampler(tree.table.ids.codes.tolist(), [8, 16], total_iterations=count)

    (plain,) = module.field(tree, sampler, 0, False)(1)
    (mine,) = module.ours(tree, sampler, 0, False, scale=True)(1)
    assert plain.shape == mine.shape == (128, 30, 64, 44)
    assert np.allclose(plain, mine)


def test_it_writes_the_ratios(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(SCRIPT), "--repeats", "1", "--batches", "1", "--json", str(tmp_path / "figures.json")],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=300,
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    assert set(figures["ratios"]) == {"plain_0w", "plain_2w", "augmented_0w", "bytes_read"}
    assert all(value > 0 for value in figures["ratios"].values())
    assert figures["ratios"]["bytes_read"] > 2.4


def test_an_index_that_opens(tmp_path: Path, module: ModuleType) -> None:
    module.make_index(tmp_path / "index", 1234)
    assert module.time_opening(tmp_path / "index").startswith("1234 sequences: 0.")
    assert open_store(tmp_path / "index").table.key(1233) == ("000024", "06", "view-00001233")
