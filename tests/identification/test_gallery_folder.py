"""A gallery's files: nothing is lost, nothing is half-written, and who is forgotten is gone."""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.identification import folder as module
from dygait.identification.folder import SETTINGS, GalleryFolder, GallerySettings

OURS = GallerySettings("made", "a" * 64, "euc", 30, 15)
fork = multiprocessing.get_context("fork")


def features(number: int, windows: int = 3) -> np.ndarray:
    return np.full((windows, 4, 2), number, np.float32)


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFolder:
    made = GalleryFolder(tmp_path / "people")
    made.create(OURS)
    return made


def contents(gallery: GalleryFolder) -> dict[str, list[float]]:
    """The number of every enrolment, by name."""
    found = {}
    for name, files in gallery.people().items():
        found[name] = sorted(float(gallery.read(file, OURS, verify=True).features[0, 0, 0]) for file in files)
    return found


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_what_is_added_is_there_and_only_that(gallery: GalleryFolder) -> None:
    assert not gallery.people()
    before = gallery.state()
    path = gallery.add("Zoë Ångström", features(1), OURS)
    assert gallery.state() != before
    gallery.add("Zoë Ångström", features(2), OURS)
    gallery.add("Ada", features(3, 5), OURS, np.zeros((5, 4, 64, 64), np.uint8))
    assert contents(gallery) == {"Ada": [3], "Zoë Ångström": [1, 2]}
    assert gallery.count(path) == 3
    assert gallery.read(path, OURS).silhouettes is None
    assert gallery.read(gallery.people()["Ada"][0], OURS).silhouettes.shape == (5, 4, 64, 64)
    assert gallery.settings() == OURS
    assert len(everything(gallery.root)) == 1 + 2 + 3  # settings, two folders, three files
    assert list(gallery.problems(OURS)) == []


def test_a_name_is_one_name_in_either_spelling(gallery: GalleryFolder) -> None:
    gallery.add("Zoe\u0308", features(1), OURS)
    gallery.add("Zo\u00eb", features(2), OURS)
    assert contents(gallery) == {"Zo\u00eb": [1, 2]}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/etc", "a\nb", ".hidden", SETTINGS, "x" * 300])
def test_a_name_that_no_folder_can_have(gallery: GalleryFolder, name: str) -> None:
    before = everything(gallery.root)
    with pytest.raises(UserError):
        gallery.add(name, features(1), OURS)
    assert everything(gallery.root) == before


def _enrol(root: Path, worker: int, count: int) -> None:
    gallery = GalleryFolder(root)
    settings = gallery.create(OURS)
    for number in range(count):
        gallery.add(f"p{(worker + number) % 3}", features(100 * worker + number), settings)


def test_several_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "people"
    workers = [fork.Process(target=_enrol, args=(root, worker, 12)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    gallery = GalleryFolder(root)
    found = sorted(number for numbers in contents(gallery).values() for number in numbers)
    assert found == sorted(100 * worker + number for worker in range(4) for number in range(12))
    assert list(gallery.problems(OURS)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_instant_it_is_whole(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "people"
    worker = fork.Process(target=_enrol, args=(root, 1, 10_000))
    worker.start()
    time.sleep(random.Random(seed).uniform(0, 0.1))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    gallery = GalleryFolder(root)
    if not gallery.exists():  # killed before it was made
        return
    numbers = sorted(number for numbers in contents(gallery).values() for number in numbers)
    assert numbers == list(range(100, 100 + len(numbers)))
    assert all("left over" in problem for problem in gallery.problems(OURS))
    gallery.add("somebody", features(7), OURS)
    assert contents(gallery)["somebody"] == [7]


def test_who_is_forgotten_is_gone_for_good(gallery: GalleryFolder) -> None:
    gallery.add("Ada", features(1), OURS)
    before = everything(gallery.root)
    gallery.add("Bob", features(2), OURS, np.zeros((3, 4, 64, 64), np.uint8))
    gallery.add("Bob", features(3), OURS)
    state = gallery.state()
    assert gallery.forget("Bob") == 2
    assert gallery.state() != state
    assert everything(gallery.root) == before
    with pytest.raises(UserError, match="nobody is enrolled as 'Bob'"):
        gallery.forget("Bob")


def test_killed_while_forgetting(gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add("Bob", features(2), OURS)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            gallery.forget("Bob")
    assert any(path.suffix == ".safetensors" for path in gallery.root.rglob("*"))
    assert gallery.people() == {}  # and whatever looks next deletes it
    assert everything(gallery.root) == [SETTINGS]


def test_a_full_disk_leaves_nothing_half_written(gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add("Ada", features(1), OURS)
    before = everything(gallery.root)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dygait.files.os.fsync", full)
    for name in ("Ada", "Bob"):
        with pytest.raises(UserError, match=r"people cannot be written: .*No space left.*free disk space"):
            gallery.add(name, features(2), OURS)
    with pytest.raises(UserError, match="cannot be written"):
        GalleryFolder(gallery.root.parent / "other").create(OURS)
    assert everything(gallery.root) == before
    assert [path.name for path in gallery.root.parent.iterdir()] == ["people"]


def test_who_comes_second_gets_what_the_first_has_made(gallery: GalleryFolder) -> None:
    assert gallery.create(GallerySettings("other", "b" * 64, "euc", 20, 10)) == OURS


@pytest.mark.parametrize(
    ("content", "keyword"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": "DyGait gallery", "version": 9}', "version 9"),
        ('{"format": "DyGait gallery", "version": 1, "window": 30}', "damaged"),
    ],
)
def test_damaged_settings(gallery: GalleryFolder, content: str, keyword: str) -> None:
    (gallery.root / SETTINGS).write_text(content)
    with pytest.raises(UserError, match=keyword):
        gallery.settings()


def test_what_is_not_a_gallery(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such gallery"):
        GalleryFolder(tmp_path / "nothing").settings()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for path in ("photos", "photos/a.jpg"):
        with pytest.raises(UserError, match="not a gallery"):
            GalleryFolder(tmp_path / path).exists()


def test_damage_is_named(gallery: GalleryFolder) -> None:
    paths = {name: gallery.add(name, features(1), OURS) for name in ("cut", "flipped", "strange", "whole", "sized")}
    content = bytearray(paths["flipped"].read_bytes())
    content[-1] ^= 1
    paths["flipped"].write_bytes(content)
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:-8])
    gallery.add("strange", features(1), GallerySettings("x", "b" * 64, "euc", 30, 15))
    gallery.add("sized", np.zeros((1, 3, 2), np.float32), OURS)
    (gallery.root / "whole" / ".killed.safetensors.123").touch()
    found = list(gallery.problems(OURS))
    assert len(found) == 5
    for keyword in (
        str(paths["cut"]),
        str(paths["flipped"]),
        "other weights",
        "sized: features of different",
        ".killed",
    ):
        assert sum(keyword in problem for problem in found) == 1, (keyword, found)


def test_a_file_that_goes_while_it_is_read(gallery: GalleryFolder) -> None:
    path = gallery.add("Ada", features(1), OURS)
    gallery.forget("Ada")
    with pytest.raises(module.MissingFileError):
        gallery.count(path)
