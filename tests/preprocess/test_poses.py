"""The command `dygait heatmaps`: files of key points in every format, with and without silhouettes, and errors."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from dygait.cli import main
from dygait.data.stores import open_store, read_pickle
from dygait.errors import UserError
from dygait.frames.heatmaps import draw_heat_maps
from dygait.preprocess.poses import read_poses
from helpers.poses import walk

POSES = walk(6)


def coco_results(poses: np.ndarray) -> list[dict[str, object]]:
    """Return key points in COCO's result format, out of order, with a second person in one picture."""
    rows = [{"image_id": f"{n}.jpg", "score": 2.0, "keypoints": p.ravel().tolist()} for n, p in enumerate(poses, 7)]
    return [*rows[::-1], {**rows[0], "image_id": "9.jpg", "score": 1.0}]


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("format", ["pkl", "grew", "npy", "json", "results"])
def test_every_format_is_read(tmp_path: Path, format: str) -> None:
    if format == "npy":
        np.save(path := tmp_path / "a.npy", POSES)
    elif format in ("pkl", "grew"):
        rows = np.concatenate([np.ones((6, 2)), POSES.reshape(6, 51)], 1)
        path = write(tmp_path / "a.pkl", pickle.dumps(rows if format == "grew" else POSES))
    else:
        path = write(tmp_path / "a.json", json.dumps(coco_results(POSES) if format == "results" else POSES.tolist()))
    assert np.array_equal(read_poses(path), POSES)


@pytest.mark.parametrize("content", ["[[1, 2], [3]]", '[{"image_id": 1}]', "{", '"text"'])
def test_other_content(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"a\.json holds no key points"):
        read_poses(write(tmp_path / "a.json", content))


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    for view in ("000", "090"):
        write(tmp_path / "poses" / "001" / "nm-01" / view / "pose.pkl", pickle.dumps(POSES))
    return tmp_path / "poses"


def test_heat_maps_without_silhouettes(poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["heatmaps", "--input", str(poses), "--output", str(tmp_path / "maps"), "--workers", "1"]
    assert main(command) == 0
    assert "2 sequences written, 12 frames" in capsys.readouterr().out
    actual = read_pickle(tmp_path / "maps" / "001" / "nm-01" / "090" / "0_heatmap.pkl")
    assert np.array_equal(actual, draw_heat_maps(POSES))
    assert main(command) == 0
    assert "0 sequences written" in capsys.readouterr().out


def test_heat_maps_with_silhouettes(poses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silhouettes = np.full((6, 64, 44), 255, np.uint8)
    for view, frames in (("000", silhouettes), ("090", silhouettes[:5])):
        write(tmp_path / "sils" / "001" / "nm-01" / view / f"{view}.pkl", pickle.dumps(frames))
    write(poses / "002" / "nm-01" / "000" / "pose.json", "[]")
    arguments = ["--input", str(poses), "--silhouettes", str(tmp_path / "sils"), "--output", str(tmp_path / "both")]
    assert main(["heatmaps", *arguments, "--format", "store", "--workers", "2"]) == 3
    errors = capsys.readouterr().err
    assert "it has 6 frames, its silhouettes have 5" in errors
    assert "002/nm-01/000/pose.json: key points must be" in errors
    store = open_store(tmp_path / "both")
    assert store.table.all_keys() == [("001", "nm-01", "000")]
    assert np.array_equal(store.read(0, 0), draw_heat_maps(POSES))
    assert np.array_equal(store.read(0, 1), silhouettes)


def test_no_key_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["heatmaps", "--input", str(tmp_path / "empty"), "--output", str(tmp_path / "o")]) == 2
    assert "no <id>/<type>/<view>/*" in capsys.readouterr().err
