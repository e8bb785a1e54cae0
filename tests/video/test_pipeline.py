"""The whole pipeline on videos of synthetic walkers with ground truth, and the command."""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from dygait import cli
from dygait.commands import silhouettes
from dygait.data.stores import open_store
from dygait.frames.normalisation import normalise_silhouette
from dygait.synthetic.video import Appearance, Scene, render, write_video
from dygait.video import Options, Track, tracks
from dygait.video.quality import judge
from dygait.video.segmenters.base import people_in_masks
from dygait.video.segmenters.build import build_segmenter
from dygait.video.sightings import EDGE, FLICKER, STILL, Sighting, sight
from dygait.video.track_cutting import Piece

pytest.importorskip("trackers")
HALF = {"width": 320, "height": 240}
Video = tuple[Path, list[np.ndarray]]


def make_video(folder: Path, *appearances: Appearance, seconds: float, **size: int) -> Video:
    """Write a video; return its path and the ground-truth label maps."""
    scene = Scene(appearances, seconds, seed=1, **size)
    path = folder / "walk.mp4"
    write_video(path, scene)
    return path, [labels for _, labels in render(scene)]


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Video:
    """One walker, 640x480."""
    return make_video(tmp_path_factory.mktemp("walker"), Appearance(1, "nm-01", 0.3), seconds=7.0)


@pytest.fixture(scope="module")
def crossing(tmp_path_factory: pytest.TempPathFactory) -> Video:
    """Two walkers who cross."""
    right, left = Appearance(1, "nm-01", 0.5), Appearance(2, "cl-01", 0.5, rightward=False, depth=1.0)
    return make_video(tmp_path_factory.mktemp("crossing"), right, left, seconds=7.5, **HALF)


def ious(track: Track, truth: list[np.ndarray], person: int) -> np.ndarray:
    """Return the IoU of each used frame with the normalised truth, allowing a shift by a column (rounding)."""
    values = []
    for index, frame in zip(track.indices[track.used], track.frames, strict=True):
        normalised = normalise_silhouette((truth[index] == person).astype(np.uint8) * np.uint8(255))
        assert normalised is not None
        expected, shifted = normalised >= 128, [np.roll(frame, shift, 1) >= 128 for shift in (-1, 0, 1)]
        values.append(max((actual & expected).sum() / (actual | expected).sum() for actual in shifted))
    return np.array(values)


def people_in(track: Track, truth: list[np.ndarray]) -> Counter[int]:
    """Return the number of used frames of a track that show each person of the ground truth."""
    frames: Counter[int] = Counter()
    for index, (left, top, width, height) in zip(track.indices[track.used], track.boxes[track.used], strict=True):
        inside = truth[index][top : top + height, left : left + width]
        counts = np.bincount(inside.ravel(), minlength=3)
        frames[int(counts[1:].argmax()) + 1] += 1
    return frames


def test_a_single_walker(walker: Video) -> None:
    path, truth = walker
    notices: list[str] = []
    (track,) = tracks(path, Options(), notify=notices.append)
    assert track.usable, track.problems
    assert len(track.frames) > 70
    assert track.frames.shape[1:] == (64, 64)
    assert track.end == "left the picture"
    assert ious(track, truth, 1).mean() > 0.9
    assert track.measures["flicker"] < 0.02
    np.testing.assert_allclose(track.times, track.indices / 25, atol=1e-6)
    at_edge = [flaw == EDGE for flaw in track.flaws]
    assert at_edge[0]
    assert at_edge[-1]
    assert not notices


def test_crossing_walkers_are_separate_sequences(crossing: Video) -> None:
    path, truth = crossing
    all_tracks = list(tracks(path, Options(min_frames=15)))
    usable = [track for track in all_tracks if track.usable]
    assert len(usable) >= 3
    for track in usable:
        people = people_in(track, truth)
        assert len(people) == 1, (track.number, people)
    assert any("touches somebody else" in track.end for track in all_tracks)
    assert {person for track in usable for person in people_in(track, truth)} == {1, 2}


def test_frames_of_a_standing_person_are_not_used(tmp_path: Path) -> None:
    stop = Appearance(1, "nm-01", 0.5, "stop", pause=4.0)
    path, truth = make_video(tmp_path, stop, seconds=11.0, **HALF)
    (track,) = (track for track in tracks(path) if track.usable)
    flaws = Counter(track.flaws)
    assert 60 < flaws[STILL] < 100
    assert len(track.frames) > 70
    assert people_in(track, truth) == {1: len(track.frames)}


def test_label_maps(crossing: Video, tmp_path: Path) -> None:
    _, truth = crossing
    folder = tmp_path / "masks"
    folder.mkdir()
    for number, labels in enumerate(truth):
        if not 40 <= number < 44:  # a gap
            cv2.imwrite(str(folder / f"{number:04d}.png"), labels)
    notices: list[str] = []
    all_tracks = list(tracks(folder, Options(min_frames=10), build_segmenter("masks"), notify=notices.append))
    assert "4 of the numbered pictures are missing" in notices[0]
    usable = [track for track in all_tracks if track.usable]
    assert {person for track in usable for person in people_in(track, truth)} == {1, 2}
    for track in usable:
        ((person, _),) = people_in(track, truth).items()
        assert ious(track, truth, person).mean() > 0.9  # people are small, so fractions of a pixel matter
        assert not {40, 41, 42, 43} & set(track.indices.tolist())


def test_seconds_and_observers(walker: Video) -> None:
    calls: list[tuple[int, int]] = []
    list(
        tracks(walker[0], Options(seconds=2.0), observe=lambda frame, people: calls.append((frame.index, len(people))))
    )
    assert [index for index, _ in calls] == list(range(50))
    assert max(count for _, count in calls) == 1


def test_flickering_frames_and_sequences() -> None:
    frame = np.zeros((64, 64), np.uint8)
    frame[:, 22:42] = 255
    torn = frame.copy()
    torn[10:30] = 0
    walk = [np.roll(frame, shift, 1) for shift in (0, 1, 2, 1) * 15]  # enough movement not to count as standing

    def track(frames: list[np.ndarray]) -> Track:
        sightings = [Sighting(i, i / 25, (6 * i, 20, 30, 90), 2000, picture, "") for i, picture in enumerate(frames)]
        return judge(Piece(1, sightings, "left"), Options(), "walk")

    steady = track(walk)
    assert steady.usable
    assert len(steady.frames) == 60
    one_flaw = track([torn if i == 30 else picture for i, picture in enumerate(walk)])
    assert [i for i, flaw in enumerate(one_flaw.flaws) if flaw == FLICKER] == [30]
    assert one_flaw.usable
    flickering = [picture.copy() for picture in walk]
    for i, picture in enumerate(flickering):
        picture[8 * (i % 3) : 8 * (i % 3) + 4, 22:40] = 0
    assert "flickers" in " ".join(track(flickering).problems)
    assert "too few frames: 20 of at least 30" in " ".join(track(walk[:20]).problems)
    assert track([]).problems


@pytest.mark.parametrize("kind", ["nm-01", "bg-01"])
def test_the_outline_of_a_clean_silhouette_does_not_flicker(kind: str) -> None:
    """It moves by fractions of a pixel: counting changed pixels would give 3 to 5 % of the trunk."""
    sightings = []
    for index, (_, labels) in enumerate(render(Scene((Appearance(2, kind, 0.0),), 3.0, seed=2, **HALF))):
        for person in people_in_masks([(labels == 1).astype(np.uint8) * np.uint8(255)]):
            sightings.append(sight(index, index / 25, person, EDGE if person.box[0] == 0 else ""))
    track = judge(Piece(1, sightings, "left"), Options(), "walk")
    assert len(track.frames) > 30
    assert FLICKER not in track.flaws
    assert track.measures["flicker"] < 0.02


def test_the_command(walker: Video, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, preview = tmp_path / "silhouettes", tmp_path / "preview.mp4"
    assert cli.main(["silhouettes", str(walker[0]), "--output", str(output), "--preview", str(preview)]) == 0
    assert "1 tracks, 0 of them marked; 1 sequences" in capsys.readouterr().out
    content = json.loads((output / "tracks.json").read_text())
    (track,) = content["tracks"]
    number = f"{track['number']:03d}"
    store = open_store(output)
    assert store.table.all_keys() == [(f"walk-{number}", "walk", number)]
    assert len(store.read(0)) == track["frames_in_use"]
    assert (output / track["sequence"]).is_file()
    assert len(track["boxes"]) == len(track["flaws"]) == len(track["times"]) == len(track["frames"])
    (source,) = content["sources"]
    assert (source["name"], source["frames_per_second"], source["notices"]) == ("walk", 25.0, [])
    capture = cv2.VideoCapture(str(preview))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == len(walker[1])
    assert {path.name for path in tmp_path.iterdir()} == {"silhouettes", "preview.mp4"}


def test_defaults_of_the_command_equal_those_of_options() -> None:
    parser = argparse.ArgumentParser()
    silhouettes.add_arguments(parser)
    defaults = parser.parse_args(["walk.mp4", "--output", "out"])
    assert Options(defaults.rate, defaults.seconds, defaults.min_height, defaults.min_frames) == Options()


def test_marked_sequences_are_written_with_keep_all(crossing: Video, tmp_path: Path) -> None:
    arguments = ["silhouettes", str(crossing[0]), "--seconds", "2.5"]
    assert cli.main([*arguments, "--output", str(tmp_path / "good")]) == 0
    assert not list((tmp_path / "good").rglob("*.pkl"))
    assert cli.main([*arguments, "--output", str(tmp_path / "all"), "--keep-all"]) == 0
    assert len(open_store(tmp_path / "all").table) == 2


def test_a_truncated_video_is_used_to_its_end(
    walker: Video, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "walk.avi"
    write_video(path, Scene((Appearance(1, "nm-01", 0.0),), 6.0, seed=1, **HALF), codec="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert cli.main(["silhouettes", str(path), "--output", str(tmp_path / "out")]) == 3
    assert "walk.avi ends after" in capsys.readouterr().err
    assert (tmp_path / "out" / "tracks.json").is_file()


def write_pictures(folder: Path, size: int = 64) -> Path:
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((size, size), 90, np.uint8))
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.mp4"], "nothing.mp4: no such file"),
        (["99"], "99: no such camera"),
        (["pictures"], "nobody was found"),
        (["tiny"], "4x4"),
        (["pictures", "--output", "pictures"], "not empty"),
        (["pictures", "--preview", "x.gif"], "x.gif"),
        (["pictures", "--rate", "0"], "rate=0"),
        (["pictures", "--segmenter", "masks", "--weights", "x.pth"], "weights"),
        (["pictures", "nothing"], "nothing: no such file"),
    ],
)
def test_errors_are_one_line_and_leave_no_files(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pictures(tmp_path / "pictures")
    write_pictures(tmp_path / "tiny", 4)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["silhouettes", "--output", "out", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_package_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(Exception, match=r"pip install 'dygait\[video\]'"):
        list(tracks(write_pictures(tmp_path / "pictures")))
