"""The benchmarks, at a small size: each fails if its two implementations differ, and writes its named ratios."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data.samplers import TripletSampler
from dygait.data.stores import open_store
from helpers.scripts import load_script, run_script

OPTIONS = {
    "data": ("--batches", "1"),
    "evaluation": ("--quick",),
    "extraction": ("--quick", "--sequences", "9"),
    "training": ("--quick", "--plot", "plot.svg"),
}
RATIOS = {
    "data": {"plain_0w", "plain_2w", "augmented_0w", "bytes_read", "render"},
    "evaluation": {"casia_b", "distance_over_gemm", "gait3d", "grew_ranking"},
    "extraction": {"extraction"},
    "training": {
        "dam_forward", "dam_train", "network_train", "batch_norm", "muon",
        "step_fp32", "step_bf16", "step_equal_allocator", "bf16_over_fp32", "allocator",
    },
}  # fmt: skip
SMALL_CONSTANTS = {
    "data": {
        "WARM": 1, "LONGER": 1, "PEOPLE": 2, "EACH": 3,
        "RENDERED": "syngait://?train_ids=300&test_ids=0&frames=2", "WILD": "syngait://wild?train_ids=300&test_ids=0&frames=2",
    },
    "extraction": {"FEW": 6, "WORLDS": (1, 2)},
}  # fmt: skip


@pytest.fixture
def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A benchmark with little data."""
    script = load_script(f"benchmark_{name}")
    for constant, value in SMALL_CONSTANTS.get(name, {}).items():
        monkeypatch.setattr(script, constant, value)
    return script


@pytest.mark.parametrize("name", OPTIONS)
def test_ratios(name: str, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_script(script, [*OPTIONS[name], "--repeats", "1", "--json", "figures.json"], monkeypatch)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    assert set(figures["ratios"]) == RATIOS[name]
    assert all(value > 0 for value in figures["ratios"].values())
    globals()[f"check_{name}"](figures, tmp_path)


def check_data(figures: dict[str, Any], folder: Path) -> None:
    assert figures["ratios"]["bytes_read"] > 2.4


def check_evaluation(figures: dict[str, Any], folder: Path) -> None:
    assert figures["details"]["grew_distractors"]["peak_gib"] < 8


def check_extraction(figures: dict[str, Any], folder: Path) -> None:
    assert figures["details"]["relative_difference"] < 1e-5
    assert figures["details"]["processes_identical"] == [1, 2]
    assert set(figures["details"]["peak_gib"]) == {"plain", "ours"}


def check_training(figures: dict[str, Any], folder: Path) -> None:
    losses = figures["details"]["first_losses"]
    assert len(losses["plain"]) == len(losses["ours"]) == 3
    assert max(figures["details"]["largest_relative_difference"].values()) <= 2e-5
    bars = ET.parse(folder / "plot.svg").getroot().findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == len(figures["ratios"]) + 1  # the bars and the background


@pytest.mark.parametrize("name", ["data"])
def test_both_loaders_give_the_same_frames(silhouette_tree: TreeFactory, script: ModuleType) -> None:
    """With sequences of exactly thirty frames, both loaders take all of them."""
    people = [f"{i:03d}" for i in range(8)]
    tree = open_store(silhouette_tree(ids=people, types=["nm-01"], views=["000"], size=(64, 64), frames=(30, 30)))

    def sampler(count: int) -> TripletSampler:
        return TripletSampler(tree.table.ids.codes.tolist(), [8, 16], total_iterations=count)

    (plain,) = script.field(tree, sampler, 0, False)(1)
    (ours,) = script.ours(tree, sampler, 0, False, scale=True)(1)
    assert plain.shape == ours.shape == (128, 30, 64, 44)
    assert np.allclose(plain, ours)


@pytest.mark.parametrize("name", ["data"])
def test_opening_an_index(tmp_path: Path, script: ModuleType) -> None:
    script.make_index(tmp_path / "index", 1234)
    assert script.time_opening(tmp_path / "index").startswith("1234 sequences: 0.")
    assert open_store(tmp_path / "index").table.key(1233) == ("000024", "06", "view-00001233")
