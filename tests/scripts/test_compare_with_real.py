"""The comparison of SynGait with real silhouettes: samples, figures, descriptors and classifiers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait.data.packing import pack
from dygait.data.stores import open_store
from dygait.synthetic.generate import generate
from dygait.synthetic.settings import parse_address
from helpers.scripts import load_script

ADDRESS = "syngait://?seed=5&train_ids=12&test_ids=0&frames=24&people.walks=2,0,0"


@pytest.fixture
def script() -> Any:
    return load_script("compare_with_real")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic people in place of real ones: ids 001 to 003 and 075 to 083."""
    folder = tmp_path_factory.mktemp("real")
    generate(folder / "pickles", parse_address(ADDRESS), progress=False)
    for number in range(4, 13):
        (folder / "pickles" / f"{number:03d}").rename(folder / "pickles" / f"{number + 71:03d}")
    return folder / "pickles"


def test_only_training_ids_are_read(script: Any, real: Path) -> None:
    stores = open_store(real), open_store(ADDRESS.replace("seed=5", "seed=6"))
    samples = script.read_samples(*stores, 200, ["000", "090"], np.random.default_rng(0))
    assert sorted(set(samples[0].ids)) == ["001", "002", "003"]
    assert len(samples[0].sequences) == len(samples[1].sequences) == 3 * 2 * 2


def test_data_without_training_ids(
    script: Any, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "080").symlink_to(real / "080")
    monkeypatch.setattr(sys, "argv", ["compare_with_real", "--real", str(tmp_path / "data")])
    assert script.main() == 2
    assert "ids 001 to 074" in capsys.readouterr().err


def test_figures(
    script: Any, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(real, tmp_path / "packed")
    figures = tmp_path / "figures.json"
    options = ["--sequences", "20", "--top", "5", "--json", str(figures), "--synthetic", ADDRESS]
    monkeypatch.setattr(sys, "argv", ["compare_with_real", "--real", str(tmp_path / "packed"), *options])
    for constant in ("CNN_FRAMES", "CNN_EPOCHS"):
        monkeypatch.setattr(script, constant, 2)
    assert script.main() == 0
    assert len(capsys.readouterr().out.splitlines()) == (2 + 5) + 1 + (2 + 3) + 2
    result = json.loads(figures.read_text())
    assert result["sequences"] == {"real": 20, "synthetic": 20}
    assert set(result["classifiers"]) == {"descriptors, sequences", "network, frames", "network, sequences"}
    assert set(result["coverage"]) == {"covered", "realistic"}
    for statistics in result["descriptors"].values():
        assert set(statistics) == {"real", "synthetic", "d", "spread", "auc"}
        assert all(np.isfinite(value) for value in statistics.values())


def frames(count: int = 30) -> np.ndarray:
    """Return silhouettes of a trunk, and of legs that open and close with a period of ten frames."""
    frames = np.zeros((count, 64, 64), np.uint8)
    frames[:, :44, 26:38] = 255
    for number, frame in enumerate(frames):
        spread = round(6 + 4 * np.sin(2 * np.pi * number / 10))
        frame[44:, 32 - spread : 36 - spread] = frame[44:, 28 + spread : 32 + spread] = 255
    return frames


def test_descriptors(script: Any) -> None:
    clean = script.describe(frames())
    assert clean["width of rows 0-3"] == clean["width of rows 40-43"] == 12
    assert clean["holes"] == 0
    assert clean["frames of a step"] == pytest.approx(10, abs=0.5)
    assert clean["rows with a gap between the legs (%)"] == 60, "in six of ten frames"
    assert clean["asymmetry (% of the area)"] < 15
    with_holes = frames()
    with_holes[:, 20:24, 30:34] = 0
    with_holes[::2, 5, 5] = 255
    actual = script.describe(with_holes)
    assert actual["holes"] == 1
    assert actual["pieces"] - clean["pieces"] == pytest.approx(0.5)
    ragged = frames()
    ragged[::2, ::2, 26] = ragged[1::2, 1::2, 37] = 0
    rough = script.describe(ragged)
    for name in ("roughness (outline / smoothed outline)", "flicker above / outline"):
        assert rough[name] > clean[name] + 0.01


def test_classifiers_and_coverage(script: Any) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([str(number) for number in range(20)], 4)
    labels = np.tile([0, 1], 40)
    table = rng.standard_normal((80, 5))
    assert script.classify_descriptors(table, labels, groups)["auc"] < 0.75
    table[:, 2] += 3 * labels
    assert script.classify_descriptors(table, labels, groups)["auc"] > 0.9
    close, distant = rng.standard_normal((60, 3)), rng.standard_normal((60, 3)) + 9
    assert script.covered(close, rng.standard_normal((60, 3))) > 0.8
    assert script.covered(distant, close) == 0
