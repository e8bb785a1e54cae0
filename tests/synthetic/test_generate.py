from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dygait.commands import synth
from dygait.errors import UserError
from dygait.preprocess import normalise_silhouette
from dygait.synthetic import generate as module
from dygait.synthetic.cameras import VIEWS
from dygait.synthetic.generate import PRESETS, Settings, frames_of, generate
from dygait.synthetic.walker import TYPES

SMALL = Settings(train_ids=1, test_ids=1, frames=(4, 6), seed=2)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def pickles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pickles")
    assert generate(root, SMALL, normalise_silhouette, progress=False) == 2 * len(TYPES) * len(VIEWS)
    return root


def test_the_layout_and_the_frames_are_those_of_the_field(pickles: Path) -> None:
    assert sorted(path.name for path in pickles.iterdir() if path.is_dir()) == ["001", "002"]
    lengths = set()
    for name in ("001", "002"):
        for kind in TYPES:
            for view in VIEWS:
                (path,) = (pickles / name / kind / view).iterdir()
                assert path.name == f"{view}.pkl"
                frames = pickle.loads(path.read_bytes())
                assert frames.dtype == np.uint8
                assert frames.shape[1:] == (64, 64)
                lengths.add(len(frames))
    assert lengths <= {4, 5, 6}
    assert len(lengths) > 1


def test_partition_and_settings_are_beside_the_ids(pickles: Path) -> None:
    assert json.loads((pickles / "SynGait.json").read_text()) == {"TRAIN_SET": ["001"], "TEST_SET": ["002"]}
    settings = json.loads((pickles / "settings.json").read_text())
    assert settings["frames"] == [4, 6]
    assert settings["seed"] == 2
    assert settings["generator"] == f"SynGait {module.VERSION}"


def test_the_number_of_workers_changes_nothing(pickles: Path, tmp_path: Path) -> None:
    generate(tmp_path, SMALL, normalise_silhouette, workers=2, progress=False)
    assert contents(tmp_path) == contents(pickles)


def test_an_interrupted_run_is_continued(tmp_path: Path, pickles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 25

    def tired(image: np.ndarray) -> np.ndarray | None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return normalise_silhouette(image)

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, SMALL, tired, progress=False)
    done = sorted(tmp_path.rglob("*.pkl"))
    assert 0 < len(done) < 10
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "nothing is half written"
    before = {path: path.stat().st_mtime_ns for path in done}
    missing = 2 * len(TYPES) * len(VIEWS) - len(done)
    assert generate(tmp_path, SMALL, normalise_silhouette, progress=False) == missing
    assert contents(tmp_path) == contents(pickles)
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert generate(tmp_path, SMALL, normalise_silhouette, progress=False) == 0


def test_pictures_normalised_are_the_pickles(pickles: Path, tmp_path: Path) -> None:
    settings = Settings(train_ids=0, test_ids=1, frames=(4, 6), seed=2, format="png")
    stale = tmp_path / "out" / "001" / "nm-01"
    generate(tmp_path / "out", settings, normalise_silhouette, progress=False)
    for kind in ("nm-01", "bg-02", "cl-01"):
        for view in ("000", "126"):
            files = sorted((tmp_path / "out" / "001" / kind / view).iterdir())
            assert [path.name for path in files] == [f"001-{kind}-{view}-{n:03d}.png" for n in range(1, len(files) + 1)]
            pictures = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files]
            assert {picture.shape for picture in pictures} == {(240, 320)}
            frames = np.stack([normalise_silhouette(picture) for picture in pictures])
            np.testing.assert_array_equal(
                frames, pickle.loads((pickles / "001" / kind / view / f"{view}.pkl").read_bytes())
            )
    # A folder that a killed run left half written is made again.
    (stale / "036").rename(stale / ".036.part")
    assert generate(tmp_path / "out", settings, normalise_silhouette, progress=False) == 1
    assert not (stale / ".036.part").exists()


def test_one_sequence_can_be_had_without_files(pickles: Path) -> None:
    frames = frames_of(SMALL, 2, "cl-02", "072", normalise_silhouette)
    np.testing.assert_array_equal(frames, pickle.loads((pickles / "002/cl-02/072/072.pkl").read_bytes()))


def test_a_picture_without_a_person_is_left_out() -> None:
    calls = iter(range(100))
    frames = frames_of(
        SMALL, 1, "nm-01", "000", lambda image: None if next(calls) == 0 else normalise_silhouette(image)
    )
    assert len(frames) == len(frames_of(SMALL, 1, "nm-01", "000", normalise_silhouette)) - 1


def test_only_one_set_can_be_written(tmp_path: Path) -> None:
    generate(tmp_path, SMALL, normalise_silhouette, only="test", progress=False)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["002"]


def test_a_folder_made_otherwise_is_refused(pickles: Path, tmp_path: Path) -> None:
    other = Settings(train_ids=1, test_ids=1, frames=(4, 6), seed=9)
    with pytest.raises(UserError, match=r"other settings \(seed\).*another --output"):
        generate(pickles, other, normalise_silhouette)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        generate(tmp_path, SMALL, normalise_silhouette)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(UserError, match="other settings"):
        generate(tmp_path, SMALL, normalise_silhouette)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"train_ids": 0, "test_ids": 0}, "train_ids=0"),
        ({"train_ids": -1}, "train_ids=-1"),
        ({"test_ids": 1000}, "999"),
        ({"frames": (0, 5)}, "frames"),
        ({"frames": (9, 5)}, "frames"),
        ({"frames": (5, 500)}, "frames"),
        ({"seed": -1}, "seed"),
        ({"format": "gif"}, "format"),
    ],
)
def test_impossible_settings_are_refused(change: dict, named: str) -> None:
    values = {"train_ids": 1, "test_ids": 1, "frames": (4, 6), **change}
    with pytest.raises(UserError, match=named):
        Settings(**values)


def test_workers_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workers=0"):
        generate(tmp_path, SMALL, normalise_silhouette, workers=0)


def test_full_has_the_sizes_of_casia_b() -> None:
    partition = PRESETS["full"].partition()
    assert (len(partition["TRAIN_SET"]), len(partition["TEST_SET"])) == (74, 50)
    assert partition["TRAIN_SET"][0] == "001"
    assert partition["TEST_SET"][-1] == "124"
    assert len(TYPES) * len(VIEWS) == 110


def command(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    synth.add_arguments(parser)
    return parser.parse_args(options)


def test_the_command_makes_data_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--train-ids", "1", "--test-ids", "1", "--frames", "2", "2", "--workers", "1", "--only", "test"]
    assert synth.main(command("--output", str(tmp_path / "data"), *sizes)) == 0
    printed = capsys.readouterr().out
    assert "110 sequences" in printed
    assert str(tmp_path / "data" / "SynGait.json") in printed


def test_the_command_draws_a_strip(tmp_path: Path) -> None:
    path = tmp_path / "strip.png"
    assert synth.main(command("--strip", str(path))) == 0
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture.shape[1] > 11 * 64
    assert path.stat().st_size < 200_000
    with pytest.raises(UserError, match=r"\.png"):
        synth.main(command("--strip", str(tmp_path / "strip.jpg")))


def test_the_command_needs_somewhere_to_write() -> None:
    with pytest.raises(UserError, match="--output"):
        synth.main(command())


def test_declaring_the_options_imports_nothing_heavy() -> None:
    code = (
        "import argparse, sys; from dygait.commands import synth; synth.add_arguments(argparse.ArgumentParser());"
        "assert not {'numpy', 'cv2', 'torch', 'tqdm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(module.__file__).parents[2])
