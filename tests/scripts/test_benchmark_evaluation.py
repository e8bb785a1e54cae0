"""The benchmark of the evaluation: it runs, both forms agree, and its figures have the agreed names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.experiments import REPOSITORY, environment


def test_it_writes_the_ratios(tmp_path: Path) -> None:
    script, path = REPOSITORY / "scripts" / "benchmark_evaluation.py", tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, str(script), "--quick", "--repeats", "1", "--json", str(path)],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=300,
    )
    figures = json.loads(path.read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    assert set(figures["ratios"]) == {"casia_b", "distance_over_gemm", "gait3d", "grew_ranking"}
    assert all(value > 0 for value in figures["ratios"].values())
    assert figures["details"]["grew_distractors"]["peak_gib"] < 8
