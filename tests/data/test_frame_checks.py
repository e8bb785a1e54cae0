"""The checks of frames by `dygait info`."""

from pathlib import Path

import numpy as np
import pytest

from dygait import cli
from dygait.data.frame_checks import check_frames
from dygait.data.stores import open_store
from dygait.data.stores.pickles import PickleTreeWriter


def frames(count: int = 12) -> np.ndarray:
    walk = np.zeros((count, 64, 64), np.uint8)
    for number in range(count):
        walk[number, :, 24 : 38 + number % 3] = 255
    return walk


def tree(root: Path, **sequences: np.ndarray) -> Path:
    writer = PickleTreeWriter(root)
    for name, walk in sequences.items():
        writer.write(name, "nm-01", "090", walk)
    return root


def test_jumping_and_raw_frames_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jumping = frames()
    jumping[4] = 0
    jumping[4, 20:, 26:36] = jumping[4, 0, 60] = 255
    raw = np.zeros((12, 240, 320), np.uint8)
    raw[:, 60:200, 100:140] = 255
    root = tree(tmp_path / "data", anna=frames(), ben=jumping, carla=raw)
    assert cli.main(["info", str(root)]) == 0
    output = capsys.readouterr().out
    assert "ben/nm-01/090: frames 4 (height 0.69 of its neighbours')" in output
    assert "1 of 3 sequences do not fill the rows of their frames, such as carla/nm-01/090 (240x320)" in output
    assert "anna" not in output
    assert check_frames(open_store(tree(tmp_path / "clean", anna=frames()))) == [
        "no frame of 1 sequences jumps in height, area or place against its neighbours"
    ]


def test_many_sequences_are_sampled_and_damaged_ones_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "data", **{f"{n:03d}": frames(6) for n in range(20)})
    (root / "005/nm-01/090/090.pkl").write_bytes(b"damaged")
    monkeypatch.setattr("dygait.data.frame_checks._SAMPLE", 7)
    assert "7 of 20 sequences" in check_frames(open_store(root))[0]
    assert " 20 sequences" in check_frames(open_store(root), every=True)[0]


def test_a_rendered_dataset_is_not_checked() -> None:
    assert check_frames(open_store("syngait://quick")) == []
