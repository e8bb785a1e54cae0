"""The commands `dygait pack`, `unpack`, `verify` and `info`."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dygait.cli import main
from dygait.data.stores import read_pickle


def test_from_a_tree_to_a_store_and_back(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, unpacked = str(tmp_path / "store"), tmp_path / "unpacked"
    assert main(["pack", str(root), store]) == 0
    assert "4 files packed into" in capsys.readouterr().out
    assert main(["verify", store]) == 0
    assert "no file is damaged" in capsys.readouterr().out
    assert main(["unpack", store, str(unpacked)]) == 0
    for path in root.rglob("*.pkl"):
        assert np.array_equal(read_pickle(unpacked / path.relative_to(root)), read_pickle(path))


def test_damaged_files_are_named_and_change_the_exit_code(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = root / "001" / "nm-01" / "090" / "090.pkl"
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert main(["verify", str(root)]) == 3
    assert str(damaged) in capsys.readouterr().err
    assert main(["pack", str(root), str(tmp_path / "store")]) == 2
    assert f"error: {damaged} cannot be loaded" in capsys.readouterr().err
    assert main(["pack", "--skip-bad", str(root), str(tmp_path / "store")]) == 3
    captured = capsys.readouterr()
    assert str(damaged) in captured.err
    assert "2 files packed" in captured.out
    assert "1 existed already, 1 were skipped" in captured.out
    data = tmp_path / "store" / "frames-00000.bin"
    data.write_bytes(bytes(b ^ 1 for b in data.read_bytes()))
    assert main(["verify", str(tmp_path / "store")]) == 3
    assert "3 files are damaged" in capsys.readouterr().out


@pytest.mark.parametrize("packed", [False, True])
def test_info(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], packed: bool) -> None:
    source = root
    if packed:
        source = tmp_path / "store"
        main(["pack", str(root), str(source)])
        capsys.readouterr()
    assert main(["info", str(source), "--sheet", str(tmp_path / "sheet.png")]) == 0
    output = capsys.readouterr().out
    assert "4 sequences of 2 ids" in output
    assert "1 types: nm-01 (4)" in output
    assert "2 views: 000 (2), 090 (2)" in output
    assert ("frames of 6x4" in output) == packed
    bars = [line for line in output.splitlines() if "#" in line]
    assert sum(int(line.split()[-1]) for line in bars) == 4
    sheet = cv2.imread(str(tmp_path / "sheet.png"), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape[0] == 4 * (6 + 20)
    assert sheet.max() == 255


def test_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["info", "nowhere"], ["pack", "nowhere", "store"], ["verify", "nowhere"]):
        assert main([arguments[0], *(str(tmp_path / a) for a in arguments[1:])]) == 2
        assert "no such folder" in capsys.readouterr().err
    assert main(["unpack", str(tmp_path), str(tmp_path / "x")]) == 2
    assert "is a store" not in capsys.readouterr().out
