"""The command `dygait prepare folders`: folders of masks from any source."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from dygait import cli
from dygait.commands.messages import INCOMPLETE
from dygait.data.stores import open_store
from dygait.frames.mask_cleaning import INVERTED, SPECKS
from dygait.frames.normalisation import normalise_silhouette
from dygait.preprocess.prepare import prepare
from helpers import raw

PEOPLE = ("anna", "ben")
FRAMES = 12


def walk(person: int, shape: tuple[int, int]) -> list[np.ndarray]:
    """Return the masks of a person who walks through the picture; a higher number is a broader person."""
    rows, columns = shape
    images = []
    for index in range(FRAMES):
        image = np.zeros(shape, np.uint8)
        x, width = columns // 5 + columns * index // 20, rows // (9 - 2 * person)
        image[rows // 5 : rows - rows // 6, x : x + width] = 255
        image[rows - rows // 3 : rows - rows // 6, x + width // 3 : x + width // 2 + index % 3] = 0
        images.append(image)
    return images


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_masks(
    folder: Path, suffix: str = "png", shape: tuple[int, int] = (120, 160), views: tuple[str, ...] = ("cam1",)
) -> Path:
    for index, person in enumerate(PEOPLE):
        for day in ("day1", "day2"):
            for view in views:
                for frame, image in enumerate(walk(index, shape), 1):
                    write(folder / person / day / view / f"{frame}.{suffix}", image)
    return folder


def expected(person: int, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    return np.stack([frame for image in walk(person, shape) if (frame := normalise_silhouette(image)) is not None])


def run(source: Path, output: Path, *options: str) -> int:
    return cli.main(["prepare", "folders", "--input", str(source), "--output", str(output), "--workers", "1", *options])


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff", "jpg", "jpeg", "JPG"])
@pytest.mark.parametrize("shape", [(120, 160), (300, 200), (64, 44)])
def test_every_format_and_size(tmp_path: Path, suffix: str, shape: tuple[int, int]) -> None:
    assert run(write_masks(tmp_path / "in", suffix, shape), tmp_path / "out") == 0
    store = open_store(tmp_path / "out")
    assert store.table.all_keys() == [(person, day, "cam1") for person in PEOPLE for day in ("day1", "day2")]
    for index, (person, _, _) in enumerate(store.table.all_keys()):
        actual, frames = store.read(index), expected(PEOPLE.index(person), shape)
        assert actual.shape == (FRAMES, 64, 64)
        if suffix.lower() in ("jpg", "jpeg"):
            assert np.abs(actual.astype(int) - frames).mean() < 8
        else:
            np.testing.assert_array_equal(actual, frames)


def test_a_tree_without_views_and_an_archive(tmp_path: Path) -> None:
    for index, person in enumerate(PEOPLE):
        for frame, image in enumerate(walk(index, (120, 160))):
            write(tmp_path / "in" / person / "day1" / f"mask{frame:04d}.png", image)
    files = {str(p.relative_to(tmp_path / "in")): p.read_bytes() for p in (tmp_path / "in").rglob("*.png")}
    (tmp_path / "masks.zip").write_bytes(raw.zipped(files))
    for source in ("in", "masks.zip"):
        report = prepare("folders", [tmp_path / source], tmp_path / f"from {source}")
        assert not report["lost"]
        store = open_store(tmp_path / f"from {source}")
        assert store.table.all_keys() == [(person, "day1", "any") for person in PEOPLE]
        np.testing.assert_array_equal(store.read(1), expected(1))


def add_specks(image: np.ndarray, number: int) -> np.ndarray:
    """Add specks at the edge of the masks of odd number."""
    noisy = image.copy()
    if number % 2:
        noisy[0, 4:7] = noisy[-3:, -9:-2] = 255
    return noisy


@pytest.mark.parametrize("inverted", [False, True])
def test_specks_do_not_shrink_the_person(tmp_path: Path, inverted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for number, image in enumerate(walk(0, (120, 160))):
        noisy = add_specks(image, number)
        write(tmp_path / "in/anna/day1/cam1" / f"{number}.png", 255 - noisy if inverted else noisy)
    assert run(tmp_path / "in", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert f"{SPECKS}: 6 pictures of 1 sequences" in printed.out
    assert (INVERTED in printed.out) == inverted
    assert "warning" not in printed.err
    np.testing.assert_array_equal(open_store(tmp_path / "out").read(0), expected(0))
    report = json.loads((tmp_path / "out/prepare_report.json").read_text())
    assert report["clean"] == "auto"
    assert report["cleaned"][SPECKS] == {"pictures": 6, "sequences": 1}

    assert run(tmp_path / "in", tmp_path / "not cleaned", "--clean", "none") == 0
    printed = capsys.readouterr()
    if not inverted:
        assert "jump in height, area or place" in printed.err
        text = (tmp_path / "not cleaned/prepare_report.txt").read_text()
        assert "1 sequences have pictures that jump" in text
        assert "anna/day1/cam1: " in text
    assert run(tmp_path / "in", tmp_path / "out", "--clean", "none") == 2
    assert "other settings (clean)" in capsys.readouterr().err


def test_polarity_is_decided_per_sequence(tmp_path: Path) -> None:
    images = walk(1, (120, 160))
    close = np.full((120, 160), 255, np.uint8)  # so close to the camera that the person covers nearly the whole edge
    close[:30, :20] = close[:30, -20:] = 0
    for number, image in enumerate([*images, close]):
        write(tmp_path / "in/ben/day1/cam1" / f"{number}.png", image)
    report = prepare("folders", [tmp_path / "in"], tmp_path / "out")
    assert report["cleaned"] == {}
    np.testing.assert_array_equal(open_store(tmp_path / "out").read(0)[:FRAMES], expected(1))


def test_unusable_pictures_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_masks(tmp_path / "in") / "anna/day1/cam1"
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:-30])
    (folder / "4.png").write_bytes(b"")
    photograph = load_sample_images().images[0]
    write(folder / "5.jpg", photograph)
    (folder / "5.png").unlink()
    write(tmp_path / "in/stray.png", photograph)
    (folder / "6.png").unlink()
    (folder / "7.png").unlink()
    assert run(tmp_path / "in", tmp_path / "out") == INCOMPLETE
    printed = capsys.readouterr()
    assert "folders: 2 ids, 4 sequences, 43 frames" in printed.out
    for message in ("damaged (in/anna/day1/cam1/3.png)", "empty file (", "photograph", "1 sequences lack numbers"):
        assert message in printed.err, message
    report = json.loads((tmp_path / "out/prepare_report.json").read_text())
    assert report["gaps"] == {"anna/day1/cam1": ["6 to 7"]}
    assert report["pictures_of_another_layout"]["names"] == ["in/stray.png"]
    text = (tmp_path / "out/prepare_report.txt").read_text()
    assert "anna/day1/cam1: 6 to 7" in text
    # With the pictures repaired, the same command uses them.
    write_masks(tmp_path / "in")
    for path in (folder / "5.jpg", tmp_path / "in/stray.png"):
        path.unlink()
    assert run(tmp_path / "in", tmp_path / "out") == 0
    assert len(open_store(tmp_path / "out").read(0)) == FRAMES


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for person in PEOPLE:
        for number, photograph in enumerate(load_sample_images().images):
            write(tmp_path / "photographs" / person / "day1" / f"{number}.jpg", photograph[::4, ::4])
        (tmp_path / "other" / person / "day1").mkdir(parents=True)
        (tmp_path / "other" / person / "day1" / "1.gif").write_bytes(b"GIF89a")
    write_masks(tmp_path / "too/deep/in")
    write_masks(tmp_path / "in")
    for source, options, message in (
        ("photographs", (), "no picture could be used. 4 pictures: a photograph, not a mask"),
        ("other", (), "2 files .gif, and reads .png"),
        ("too", (), "48 pictures such as too/deep/in/anna/day1/cam1/1.png"),
        ("in", ("--every", "0"), "--every 0"),
    ):
        assert run(tmp_path / source, tmp_path / f"from {source}", *options) == 2, source
        *_, error = capsys.readouterr().err.splitlines()
        assert message in error
    two_inputs = ["--input", str(tmp_path / "in"), str(tmp_path / "in/anna"), "--output", str(tmp_path / "x")]
    assert cli.main(["prepare", "folders", *two_inputs]) == 2
    assert "takes one folder" in capsys.readouterr().err


def test_every_second_picture(tmp_path: Path) -> None:
    source = write_masks(tmp_path / "in")
    assert run(source, tmp_path / "out", "--every", "2") == 0
    np.testing.assert_array_equal(open_store(tmp_path / "out").read(0), expected(0)[::2])
    assert json.loads((tmp_path / "out/prepare_report.json").read_text())["gaps"] == {}


def test_normalised_frames_keep_their_soft_edges(tmp_path: Path) -> None:
    frames = [cv2.GaussianBlur(frame, (3, 3), 0) for frame in expected(0)]
    for number, frame in enumerate(frames):
        noisy = frame.copy()
        noisy[:2, :2] = 255
        write(tmp_path / "in/anna/day1/cam1" / f"{number}.png", noisy)
    report = prepare("folders", [tmp_path / "in"], tmp_path / "out")
    assert list(report["cleaned"]) == [SPECKS]
    actual, original = open_store(tmp_path / "out").read(0), np.stack(frames)
    assert len(np.unique(actual)) > 2
    np.testing.assert_allclose(actual, original, atol=32)  # beyond the edge, the faintest levels are cut off
