"""The fit of displacements to mean silhouettes."""

import json
from pathlib import Path

import numpy as np
import pytest

from dygait.synthetic import displacement
from helpers.scripts import load_script, run_script

SCRIPT = load_script("fit_displacements")
WALKERS = "syngait://quick?seed=5&train_ids=3&test_ids=0&frames=9"


def test_the_displacements_of_the_data_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data are the same walkers with the displacements that ship."""
    target = tmp_path / "found.json"
    data = f"{WALKERS}&cameras.displacement=1"
    options = ["--data", data, "--people", "001-003", "--world", WALKERS, "--output", str(target)]
    monkeypatch.setattr(SCRIPT, "CONDITIONS", {"nm": ("1,0,0", ["nm-01"])})
    run_script(SCRIPT, options, monkeypatch)
    found, shipped = json.loads(target.read_text()), json.loads(displacement.FILE.read_text())
    assert list(found) == ["nm"]
    for view, points in shipped["nm"].items():
        assert np.corrcoef(np.ravel(points), np.ravel(found["nm"][view]))[0, 1] > 0.5, view
