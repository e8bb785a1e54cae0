"""The comparison with real silhouettes: it tells a changed generator from itself, and reads no test id."""

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

TWELVE = "syngait://?seed=5&train_ids=12&test_ids=0&frames=24&people.walks=2,0,0"


@pytest.fixture
def script() -> Any:
    return load_script("compare_with_real")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other synthetic people in the place of real ones; ids 001 to 003 and 075 to 077."""
    folder = tmp_path_factory.mktemp("real")
    generate(folder / "pickles", parse_address(TWELVE), progress=False)
    for number in range(4, 13):
        (folder / "pickles" / f"{number:03d}").rename(folder / "pickles" / f"{number + 71:03d}")
    return folder / "pickles"


def test_only_training_ids_are_read(script: Any, real: Path) -> None:
    stores = open_store(real), open_store(TWELVE.replace("seed=5", "seed=6"))
    samples = script.read_samples(*stores, 200, ["000", "090"], np.random.default_rng(0))
    assert sorted(set(samples[0].ids)) == ["001", "002", "003"]
    assert len(samples[0].sequences) == len(samples[1].sequences) == 3 * 2 * 2


def test_nothing_but_test_ids_is_an_error(
    script: Any, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "080").symlink_to(real / "080")
    monkeypatch.setattr(sys, "argv", ["compare_with_real", "--real", str(tmp_path / "data")])
    assert script.main() == 2
    assert "ids 001 to 074" in capsys.readouterr().err


def test_it_prints_and_writes_the_figures(
    script: Any, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(real, tmp_path / "packed")
    figures = tmp_path / "figures.json"
    options = ["--sequences", "20", "--top", "5", "--json", str(figures), "--synthetic", TWELVE]
    monkeypatch.setattr(sys, "argv", ["compare_with_real", "--real", str(tmp_path / "packed"), *options])
    for constant in ("CNN_FRAMES", "CNN_EPOCHS"):
        monkeypatch.setattr(script, constant, 2)
    assert script.main() == 0
    assert len(capsys.readouterr().out.splitlines()) == (2 + 5) + 1 + (2 + 3) + 2
    found = json.loads(figures.read_text())
    assert found["sequences"] == {"real": 20, "synthetic": 20}
    assert set(found["classifiers"]) == {"descriptors, sequences", "network, frames", "network, sequences"}
    assert set(found["coverage"]) == {"covered", "realistic"}
    for one in found["descriptors"].values():
        assert set(one) == {"real", "synthetic", "d", "spread", "auc"}
        assert all(np.isfinite(value) for value in one.values())


def frames(count: int = 30) -> np.ndarray:
    """A trunk, and legs that open and close with a period of ten frames."""
    drawn = np.zeros((count, 64, 64), np.uint8)
    drawn[:, :44, 26:38] = 255
    for number, frame in enumerate(drawn):
        apart = round(6 + 4 * np.sin(2 * np.pi * number / 10))
        frame[44:, 32 - apart : 36 - apart] = frame[44:, 28 + apart : 32 + apart] = 255
    return drawn


def test_descriptors_are_what_they_are_called(script: Any) -> None:
    clean = script.describe(frames())
    assert clean["width of rows 0-3"] == clean["width of rows 40-43"] == 12
    assert clean["holes"] == 0
    assert clean["frames of a step"] == pytest.approx(10, abs=0.5)
    assert clean["rows with a gap between the legs (%)"] == 60, "in six of ten frames"
    assert clean["asymmetry (% of the area)"] < 15
    holed = frames()
    holed[:, 20:24, 30:34] = 0
    holed[::2, 5, 5] = 255
    found = script.describe(holed)
    assert found["holes"] == 1
    assert found["pieces"] - clean["pieces"] == pytest.approx(0.5)
    ragged = frames()
    ragged[::2, ::2, 26] = ragged[1::2, 1::2, 37] = 0
    worse = script.describe(ragged)
    for name in ("roughness (outline / smoothed outline)", "flicker above / outline"):
        assert worse[name] > clean[name] + 0.01


def test_equal_samples_cannot_be_told_apart_and_others_can(script: Any) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([str(number) for number in range(20)], 4)
    labels = np.tile([0, 1], 40)
    table = rng.standard_normal((80, 5))
    assert script.classify_descriptors(table, labels, groups)["auc"] < 0.75
    table[:, 2] += 3 * labels
    assert script.classify_descriptors(table, labels, groups)["auc"] > 0.9
    near, far = rng.standard_normal((60, 3)), rng.standard_normal((60, 3)) + 9
    assert script.covered(near, rng.standard_normal((60, 3))) > 0.8
    assert script.covered(far, near) == 0
