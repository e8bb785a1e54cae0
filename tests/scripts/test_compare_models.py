"""The comparison of models: it runs all six, and its figures have the agreed names."""

from __future__ import annotations

import json
from pathlib import Path

from experiments import REPOSITORY, command


def test_it_compares_the_six(tmp_path: Path) -> None:
    figures, table = tmp_path / "figures.json", tmp_path / "table.md"
    script = str(REPOSITORY / "scripts" / "compare_models.py")
    done = command(script, "--quick", "--repeats", "1", "--json", str(figures), "--markdown", str(table))
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found.keys() == {"models", "environment"}
    assert list(found["models"]) == ["GaitSet", "GaitPart", "GaitGL", "GaitBase", "DeepGaitV2", "DyGait"]
    for name, row in found["models"].items():
        assert row.keys() == {"NM", "BG", "CL", "training", "test", "parameters", "multiply_adds"}
        assert all(0 <= row[group] <= 100 for group in ("NM", "BG", "CL"))
        assert min(row["training"], row["test"], row["parameters"]) > 0
        assert row["multiply_adds"] > 1e7, name
    assert table.read_text() in done.stdout
    assert len(table.read_text().splitlines()) == 8
