"""The benchmark of the extraction: it runs, both ways agree, and its figures have the agreed names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from helpers.experiments import REPOSITORY, environment


def test_it_writes_the_ratio(tmp_path: Path) -> None:
    script, path = REPOSITORY / "scripts" / "benchmark_extraction.py", tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, str(script), "--quick", "--repeats", "1", "--json", str(path)],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=400,
    )
    figures = json.loads(path.read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    assert set(figures["ratios"]) == {"extraction"}
    assert figures["ratios"]["extraction"] > 0
    assert figures["details"]["relative_difference"] < 1e-5
    assert figures["details"]["1_2_3_processes_identical"] is True
    assert set(figures["details"]["peak_gib"]) == {"plain", "ours"}
