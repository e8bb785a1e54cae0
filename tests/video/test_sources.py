"""Sources: frames, their order and times, notices and errors."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dygait.errors import UserError
from dygait.video.sources import open_source


def picture(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def write_video(path: Path, frames: int, rate: float = 25) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (64, 48))
    for number in range(frames):
        writer.write(picture(8 * number % 256))
    writer.release()
    return path


def test_a_video_gives_its_frames_and_times(tmp_path: Path) -> None:
    source = open_source(str(write_video(tmp_path / "walk.avi", 20, rate=10)))
    assert (source.name, source.rate, source.count) == ("walk", 10, 20)
    for _ in range(2):  # it can be read again
        frames = list(source.frames())
        assert [frame.index for frame in frames] == list(range(20))
        np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.1)
        assert [round(float(frame.picture.mean()) / 8) for frame in frames] == list(range(20))
    assert len(source.sample(1.0)) == 10
    assert len(source.sample(0)) == 1
    assert not source.notices
    assert open_source(str(tmp_path / "walk.avi"), rate=5).rate == 5


def test_a_truncated_video_has_a_notice(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.avi", 100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    frames = len(list(source.frames()))
    assert 10 < frames < 90
    assert source.lost
    (notice,) = source.notices
    assert "walk.avi" in notice
    assert f"{frames} of " in notice


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.mp4", None, "no such file"),
        ("text.mp4", b"no video", "not a video"),
        ("empty.avi", b"", "not a video"),
        ("77", None, "no such camera"),
    ],
)
def test_sources_that_cannot_be_opened(
    name: str, content: bytes | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_source(name)


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (48, 64)) -> Path:
    folder.mkdir()
    for level, name in enumerate(names):
        cv2.imwrite(str(folder / name), picture(level, size))
    return folder


@pytest.mark.parametrize(
    ("names", "order", "indices"),
    [
        (["f10.png", "f9.png", "f11.jpg"], [1, 0, 2], [0, 1, 2]),  # by number, not by name
        (["a-000.png", "a-005.png", "a-020.png", "a-010.png"], [0, 1, 3, 2], [0, 1, 2, 4]),  # every fifth frame
        (["b.png", "a.png"], [1, 0], [0, 1]),
        (["x1.png", "y1.png"], [0, 1], [0, 1]),  # the same number twice
        (["1700000000.png", "1700000003.png", "1700099999.png"], [0, 1, 2], [0, 1, 2]),  # timestamps
    ],
)
def test_order_and_times_of_pictures(names: list[str], order: list[int], indices: list[int], tmp_path: Path) -> None:
    source = open_source(str(write_pictures(tmp_path / "frames", names)), rate=10)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == indices
    assert [round(float(frame.picture.mean())) for frame in frames] == order
    np.testing.assert_allclose([frame.time for frame in frames], np.array(indices) / 10)


def test_a_gap_and_a_damaged_picture_are_named(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "frames", ["1.png", "2.png", "5.png", "6.png"])
    (folder / "6.png").write_bytes(b"no picture")
    source = open_source(str(folder))
    assert [frame.index for frame in source.frames()] == [0, 1, 4]
    gap, damaged = source.notices
    assert "2 of the numbered pictures are missing, the first between 2.png and 5.png" in gap
    assert "6.png" in damaged
    assert source.lost


def test_masks_are_read_unchanged(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    values = np.zeros((40, 40), np.uint16)
    values[10:20] = 700
    cv2.imwrite(str(tmp_path / "masks" / "1.png"), values)
    (frame,) = open_source(str(tmp_path / "masks"), masks=True).frames()
    np.testing.assert_array_equal(frame.picture, values)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([], "no picture"), ([(4, 4)], "4x4"), ([(48, 64), (64, 64)], "1.png has 64x64 pixels")],
)
def test_unusable_pictures(sizes: list[tuple[int, int]], message: str, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, size in enumerate(sizes):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), picture(9, size))
    with pytest.raises(UserError, match=message):
        list(open_source(str(tmp_path / "frames")).frames())
