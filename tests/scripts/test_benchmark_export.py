"""The benchmark of exported networks runs at a small size, and writes latencies, rank-1 and ratios of every form."""

import json
from pathlib import Path

import pytest

from dygait.deployment.exporting import writes_onnx
from helpers.scripts import load_script

script = load_script("benchmark_export")
ALWAYS = {"torch_export_float32", "onnx_float32", "onnx_int8_dynamic"}


@pytest.mark.skipif(not writes_onnx(), reason="this PyTorch is too old to write ONNX")
def test_it_writes_the_figures(tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "figures.json"), "--markdown", str(tmp_path / "table.md")]
    assert script.main(["--quick", "--threads", "1", "--repeats", "1", *files]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    assert ALWAYS <= set(figures["ratios"]) <= ALWAYS | {"pytorch_bfloat16"}
    assert all(ratio > 0 for ratio in figures["ratios"].values())
    forms = figures["details"]["forms"]
    plain = forms[script.PLAIN]
    assert set(plain["rank_1"]) == {"NM", "BG", "CL"}
    assert set(plain["milliseconds"]) == {"1", "8"}
    assert forms["ONNX, float32"]["rank_1"] == plain["rank_1"]
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(forms)


def test_weights_that_do_not_exist(capsys) -> None:
    assert script.main(["nobody"]) == 2
    assert "there are no weights 'nobody'" in capsys.readouterr().err
