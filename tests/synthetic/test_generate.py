import argparse
import dataclasses
import errno
import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dygait.commands import synth
from dygait.errors import UserError
from dygait.frames.normalisation import normalise_silhouette
from dygait.synthetic import generate as module
from dygait.synthetic.cameras import VIEWS
from dygait.synthetic.generate import generate
from dygait.synthetic.settings import PRESETS, VERSION, Settings
from dygait.synthetic.walker import TYPES, render_frames

SMALL = Settings(train_ids=1, test_ids=1, frames=(4, 6), seed=2)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pickles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pickles")
    assert generate(root, SMALL, progress=False) == 2 * len(TYPES) * len(VIEWS)
    return root


def test_layout_and_frames_are_those_of_casia_b(pickles: Path) -> None:
    assert sorted(path.name for path in pickles.iterdir() if path.is_dir()) == ["001", "002"]
    lengths = set()
    for name, kind, view in itertools.product(("001", "002"), TYPES, VIEWS):
        (path,) = (pickles / name / kind / view).iterdir()
        assert path.name == f"{view}.pkl"
        frames = pickle.loads(path.read_bytes())
        assert frames.dtype == np.uint8
        assert frames.shape[1:] == (64, 64)
        lengths.add(len(frames))
    assert lengths <= {4, 5, 6}
    assert len(lengths) > 1
    assert json.loads((pickles / "SynGait.json").read_text()) == {"TRAIN_SET": ["001"], "TEST_SET": ["002"]}
    settings = json.loads((pickles / "settings.json").read_text())
    assert (settings["frames"], settings["seed"]) == ([4, 6], 2)
    assert settings["generator"] == f"SynGait {VERSION}"


def test_the_result_does_not_depend_on_workers(pickles: Path, tmp_path: Path) -> None:
    generate(tmp_path, SMALL, workers=2, progress=False)
    assert contents(tmp_path) == contents(pickles)


def test_an_interrupted_run_is_continued(tmp_path: Path, pickles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def interrupted(*arguments: Any) -> np.ndarray:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return render_frames(*arguments)

    monkeypatch.setattr(module, "render_frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, SMALL, progress=False)
    monkeypatch.undo()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pkl")}
    assert len(before) == 5
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "no half-written files"
    missing = 2 * len(TYPES) * len(VIEWS) - len(before)
    assert generate(tmp_path, SMALL, progress=False) == missing
    assert contents(tmp_path) == contents(pickles)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert generate(tmp_path, SMALL, progress=False) == 0


def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write_walk", write)
    with pytest.raises(UserError, match=rf"{tmp_path} cannot be written: No space left"):
        generate(tmp_path, SMALL, workers=1, progress=False)


def test_normalised_pictures_equal_the_pickles(pickles: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SMALL, train_ids=0, format="png")
    root = tmp_path / "out"
    generate(root, settings, progress=False)
    for kind, view in itertools.product(("nm-01", "bg-02", "cl-01"), ("000", "126")):
        files = sorted((root / "001" / kind / view).iterdir())
        assert [path.name for path in files] == [f"001-{kind}-{view}-{n:03d}.png" for n in range(1, len(files) + 1)]
        pictures = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files]
        assert {picture.shape for picture in pictures} == {(240, 320)}
        expected = pickle.loads((pickles / "001" / kind / view / f"{view}.pkl").read_bytes())
        np.testing.assert_array_equal([normalise_silhouette(picture) for picture in pictures], expected)
    # A half-written folder of a killed run is written again.
    stale = root / "001" / "nm-01" / ".036.part"
    stale.with_name("036").rename(stale)
    assert generate(root, settings, progress=False) == 1
    assert not stale.exists()


def test_an_output_folder_with_other_content(pickles: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other settings \(seed\).*another --output"):
        generate(pickles, dataclasses.replace(SMALL, seed=9))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        generate(tmp_path, SMALL)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(UserError, match="other settings"):
        generate(tmp_path, SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_ids": 0, "test_ids": 0}, "train_ids=0"),
        ({"train_ids": -1}, "train_ids=-1"),
        ({"test_ids": 100_000}, "100000"),
        ({"frames": (0, 5)}, "frames"),
        ({"frames": (9, 5)}, "frames"),
        ({"frames": (5, 500)}, "frames"),
        ({"seed": -1}, "seed"),
        ({"format": "gif"}, "format"),
    ],
)
def test_invalid_settings(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SMALL, **change)
    with pytest.raises(UserError, match="workers=0"):
        generate(tmp_path, SMALL, workers=0)


def test_full_has_the_sizes_of_casia_b() -> None:
    partition = PRESETS["full"].partition()
    assert (len(partition["TRAIN_SET"]), len(partition["TEST_SET"])) == (74, 50)
    assert partition["TRAIN_SET"][0] == "001"
    assert partition["TEST_SET"][-1] == "124"
    assert len(TYPES) * len(VIEWS) == 110


def run_command(*options: str) -> None:
    parser = argparse.ArgumentParser()
    synth.add_arguments(parser)
    synth.main(parser.parse_args(options))


def test_the_command_writes_data_and_prints_the_partition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--train-ids", "1", "--test-ids", "1", "--frames", "2", "2", "--workers", "1", "--only", "test"]
    run_command("--output", str(tmp_path / "data"), *sizes)
    assert [path.name for path in (tmp_path / "data").iterdir() if path.is_dir()] == ["002"]
    printed = capsys.readouterr().out
    assert "110 sequences" in printed
    assert str(tmp_path / "data" / "SynGait.json") in printed


def test_the_command_draws_a_strip(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    run_command("--strip", str(path))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[1] > 11 * 64
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize(("options", "message"), [((), "--output"), (("--strip", "strip.jpg"), r"\.png")])
def test_the_command_needs_an_output(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_command(*options)
