"""The benchmark of the training step: it runs, both forms agree, and its figures have the agreed names."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from helpers.experiments import REPOSITORY, environment


def test_it_writes_the_ratios(tmp_path: Path) -> None:
    """It ends with an error where outputs, gradients or the losses of whole steps differ between the forms."""
    script = REPOSITORY / "scripts" / "benchmark_training.py"
    file, plot = tmp_path / "figures.json", tmp_path / "figures.svg"
    options = ["--quick", "--repeats", "1", "--json", str(file), "--plot", str(plot)]
    subprocess.run([sys.executable, str(script), *options], env=environment(), check=True, timeout=300)
    figures = json.loads(file.read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    agreed = {"dam_forward", "dam_train", "network_train", "step_fp32", "step_bf16", "allocator", "batch_norm"}
    assert set(figures["ratios"]) >= agreed
    assert all(value > 0 for value in figures["ratios"].values())
    losses = figures["details"]["first_losses"]
    assert len(losses["plain"]) == len(losses["ours"]) == 3
    assert max(figures["details"]["largest_relative_difference"].values()) <= 2e-5
    bars = ET.parse(plot).getroot().findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == len(figures["ratios"]) + 1  # and the ground
