"""The commands `dygait enroll` and `dygait identify` with videos."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dygait.cli import main
from dygait.identification import Gallery
from dygait.identification.live import LiveNames
from dygait.runs.checkpoint_files import save_checkpoint
from dygait.synthetic.video import Appearance, Scene, write_video
from dygait.video import tracks
from helpers.galleries import MeanSilhouette
from helpers.networks import SMALL

pytest.importorskip("trackers", reason="trackers is not installed: pip install 'dygait[video]'")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Videos of one person, and of two at the same time."""
    folder = tmp_path_factory.mktemp("videos")
    ada, bob = Appearance(11, "nm-01", 1.0), Appearance(14, "nm-01", 1.4, rightward=False, depth=1.5)
    for name, cast in (("ada", (ada,)), ("both", (ada, bob))):
        write_video(folder / f"{name}.mp4", Scene(cast, 7.5, seed=5, width=320, height=240))
    return {name: folder / f"{name}.mp4" for name in ("ada", "both")}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with its initial weights; these suffice to tell two walks apart."""
    from dygait.modeling import build_model

    settings = {**SMALL["GaitBase"], "input_size": [64, 44]}
    config = {"model_cfg": settings, "evaluator_cfg": {"transform": {"type": "BaseSilCuttingTransform"}}}
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    save_checkpoint(path, {"model": build_model(settings).state_dict(), "config": config, "iteration": 0})
    return path


@pytest.fixture(scope="module")
def people(videos: dict[str, Path], weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery") / "people"
    options = ["--gallery", str(folder), "--weights", str(weights), "--keep-silhouettes"]
    assert main(["enroll", "Ada", str(videos["ada"]), *options]) == 0
    return folder


def test_two_people_in_one_video_are_not_enrolled(
    videos: dict[str, Path], people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["enroll", "Bob", str(videos["both"]), "--gallery", str(people)]) == 2
    assert "are seen at the same time, and cannot both be Bob" in capsys.readouterr().err


def test_from_a_video_to_a_name(
    videos: dict[str, Path], people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, page, names = (tmp_path / name for name in ("answers.json", "page.html", "names.mp4"))
    files = ["--json", str(answers), "--page", str(page), "--video", str(names)]
    assert main(["identify", str(videos["ada"]), "--gallery", str(people), *files]) == 0
    assert "Ada" in capsys.readouterr().out
    (track,) = json.loads(answers.read_text())["tracks"]
    assert track["nearest"] == [{"rank": 1, "name": "Ada", "distance": pytest.approx(0, abs=0.1)}]
    assert 0 < track["seconds"][0] < track["seconds"][1] < 7.5
    assert track["measures"]
    assert "track 1" in page.read_text()
    assert page.read_text().count("<img") == 2
    before, after = (cv2.VideoCapture(str(path)) for path in (videos["ada"], names))
    assert after.get(cv2.CAP_PROP_FRAME_COUNT) == before.get(cv2.CAP_PROP_FRAME_COUNT)
    middle = round(25 * np.mean(track["seconds"]))
    for capture in (before, after):
        capture.set(cv2.CAP_PROP_POS_FRAMES, middle)
    difference = cv2.absdiff(before.read()[1], after.read()[1]).max(2)
    assert 0.01 < (difference > 40).mean() < 0.2  # the box and the name


def test_names_are_given_while_people_walk(
    videos: dict[str, Path], people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    names = LiveNames(Gallery.open(people))
    assert len(list(tracks(str(videos["both"]), observe=names))) >= 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert all("not calibrated (nearest Ada" in line for line in lines)
    assert all(len(follower.frames) <= 75 for follower in names._followers.values())
    assert float(lines[0].split()[0]) < 4  # before the walk has ended


def test_live_from_a_video(videos: dict[str, Path], people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["identify", str(videos["ada"]), "--gallery", str(people), "--live"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "s, track 1: not calibrated (nearest Ada" in lines[0]
    assert lines[1].startswith("track 1, 0:0")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("99", [], "no such camera"),
        ("nothing.mp4", [], "no such file"),
        ("{tree}", ["--live"], "need a video or a camera"),
        ("{tree}", ["--video", "x.mp4"], "need a video or a camera"),
        ("{ada}", ["--seconds", "0.5"], "nobody was found"),
        ("{ada}", ["--segmenter", "nonsense"], "nonsense"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    videos: dict[str, Path],
    silhouette_tree: object,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    options: list[str],
    message: str,
) -> None:
    gallery = Gallery.open(tmp_path / "people", MeanSilhouette())
    sources = {"tree": silhouette_tree(ids=["001"], frames=(40, 40)), **videos}  # type: ignore[operator]
    gallery.enroll("x", [np.zeros((30, 64, 64), np.uint8)])
    arguments = ["identify", source.format(**sources), "--gallery", str(tmp_path / "people"), *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dygait.identification.gallery.load_pretrained", lambda _: MeanSilhouette())
        assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("dygait: error: ")
    assert message in error
