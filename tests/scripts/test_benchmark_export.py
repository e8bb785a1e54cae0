"""The benchmark of exported networks, at a small size: latencies, rank-1 and ratios of every format."""

import json
from pathlib import Path

import pytest

from dygait.deployment.exporting import writes_onnx
from helpers.scripts import load_script

script = load_script("benchmark_export")
ALWAYS = {"torch_export_float32", "onnx_float32", "onnx_int8_dynamic"}


@pytest.mark.skipif(not writes_onnx(), reason="this PyTorch is too old to write ONNX")
def test_figures(tmp_path: Path) -> None:
    files = ["--json", str(tmp_path / "figures.json"), "--markdown", str(tmp_path / "table.md")]
    assert script.main(["--quick", "--threads", "1", "--repeats", "1", *files]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"ratios", "details", "environment"}
    assert ALWAYS <= set(figures["ratios"]) <= ALWAYS | {"pytorch_bfloat16"}
    assert all(ratio > 0 for ratio in figures["ratios"].values())
    formats = figures["details"]["forms"]
    pytorch = formats[script.PLAIN]
    assert set(pytorch["rank_1"]) == {"NM", "BG", "CL"}
    assert set(pytorch["milliseconds"]) == {"1", "8"}
    assert formats["ONNX, float32"]["rank_1"] == pytorch["rank_1"]
    assert len((tmp_path / "table.md").read_text().splitlines()) == 2 + len(formats)


def test_unknown_weights(capsys) -> None:
    assert script.main(["nobody"]) == 2
    assert "there are no weights 'nobody'" in capsys.readouterr().err
