"""The files of a gallery: no enrolment is lost or half-written, and forgotten people are deleted."""

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

GALLERY_SETTINGS = GallerySettings("test", "a" * 64, "euc", 30, 15)
fork = multiprocessing.get_context("fork")


def features(number: int, windows: int = 3) -> np.ndarray:
    return np.full((windows, 4, 2), number, np.float32)


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFolder:
    gallery = GalleryFolder(tmp_path / "people")
    gallery.create(GALLERY_SETTINGS)
    return gallery


def contents(gallery: GalleryFolder) -> dict[str, list[float]]:
    """Return the numbers of all enrolments, by name."""
    numbers = {}
    for name, files in gallery.people().items():
        enrolments = [gallery.read(file, GALLERY_SETTINGS, verify=True) for file in files]
        numbers[name] = sorted(float(enrolment.features[0, 0, 0]) for enrolment in enrolments)
    return numbers


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_enrolments_are_added(gallery: GalleryFolder) -> None:
    assert not gallery.people()
    before = gallery.state()
    path = gallery.add("Zoë Ångström", features(1), GALLERY_SETTINGS)
    assert gallery.state() != before
    gallery.add("Zoë Ångström", features(2), GALLERY_SETTINGS)
    gallery.add("Ada", features(3, 5), GALLERY_SETTINGS, np.zeros((5, 4, 64, 64), np.uint8))
    assert contents(gallery) == {"Ada": [3], "Zoë Ångström": [1, 2]}
    assert gallery.count(path) == 3
    assert gallery.read(path, GALLERY_SETTINGS).silhouettes is None
    assert gallery.read(gallery.people()["Ada"][0], GALLERY_SETTINGS).silhouettes.shape == (5, 4, 64, 64)
    assert gallery.settings() == GALLERY_SETTINGS
    assert len(files_below(gallery.root)) == 1 + 2 + 3  # settings, two folders, three files
    assert list(gallery.problems(GALLERY_SETTINGS)) == []


def test_unicode_forms_of_a_name_are_one_person(gallery: GalleryFolder) -> None:
    gallery.add("Zoe\u0308", features(1), GALLERY_SETTINGS)
    gallery.add("Zo\u00eb", features(2), GALLERY_SETTINGS)
    assert contents(gallery) == {"Zo\u00eb": [1, 2]}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "/etc", "a\nb", ".hidden", SETTINGS, "x" * 300])
def test_invalid_names(gallery: GalleryFolder, name: str) -> None:
    before = files_below(gallery.root)
    with pytest.raises(UserError):
        gallery.add(name, features(1), GALLERY_SETTINGS)
    assert files_below(gallery.root) == before


def enrol(root: Path, worker: int, count: int) -> None:
    gallery = GalleryFolder(root)
    settings = gallery.create(GALLERY_SETTINGS)
    for number in range(count):
        gallery.add(f"p{(worker + number) % 3}", features(100 * worker + number), settings)


def test_concurrent_processes_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "people"
    workers = [fork.Process(target=enrol, args=(root, worker, 12)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    gallery = GalleryFolder(root)
    actual = sorted(number for numbers in contents(gallery).values() for number in numbers)
    assert actual == sorted(100 * worker + number for worker in range(4) for number in range(12))
    assert list(gallery.problems(GALLERY_SETTINGS)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_process_leaves_a_valid_gallery(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "people"
    worker = fork.Process(target=enrol, args=(root, 1, 10_000))
    worker.start()
    time.sleep(random.Random(seed).uniform(0, 0.1))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    gallery = GalleryFolder(root)
    if not gallery.exists():  # killed before the gallery was created
        return
    numbers = sorted(number for numbers in contents(gallery).values() for number in numbers)
    assert numbers == list(range(100, 100 + len(numbers)))
    assert all("left over" in problem for problem in gallery.problems(GALLERY_SETTINGS))
    gallery.add("somebody", features(7), GALLERY_SETTINGS)
    assert contents(gallery)["somebody"] == [7]


def test_forgotten_people_are_deleted(gallery: GalleryFolder) -> None:
    gallery.add("Ada", features(1), GALLERY_SETTINGS)
    before = files_below(gallery.root)
    gallery.add("Bob", features(2), GALLERY_SETTINGS, np.zeros((3, 4, 64, 64), np.uint8))
    gallery.add("Bob", features(3), GALLERY_SETTINGS)
    state = gallery.state()
    assert gallery.forget("Bob") == 2
    assert gallery.state() != state
    assert files_below(gallery.root) == before
    with pytest.raises(UserError, match="nobody is enrolled as 'Bob'"):
        gallery.forget("Bob")


def test_killed_while_forgetting(gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add("Bob", features(2), GALLERY_SETTINGS)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            gallery.forget("Bob")
    assert any(path.suffix == ".safetensors" for path in gallery.root.rglob("*"))
    assert gallery.people() == {}  # the next access deletes it
    assert files_below(gallery.root) == [SETTINGS]


def test_a_full_disk_leaves_nothing_half_written(gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.add("Ada", features(1), GALLERY_SETTINGS)
    before = files_below(gallery.root)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dygait.files.os.fsync", full)
    for name in ("Ada", "Bob"):
        with pytest.raises(UserError, match=r"people cannot be written: .*No space left.*free disk space"):
            gallery.add(name, features(2), GALLERY_SETTINGS)
    with pytest.raises(UserError, match="cannot be written"):
        GalleryFolder(gallery.root.parent / "other").create(GALLERY_SETTINGS)
    assert files_below(gallery.root) == before
    assert [path.name for path in gallery.root.parent.iterdir()] == ["people"]


def test_create_returns_the_settings_of_an_existing_gallery(gallery: GalleryFolder) -> None:
    assert gallery.create(GallerySettings("other", "b" * 64, "euc", 20, 10)) == GALLERY_SETTINGS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": "DyGait gallery", "version": 9}', "version 9"),
        ('{"format": "DyGait gallery", "version": 1, "window": 30}', "damaged"),
    ],
)
def test_damaged_settings(gallery: GalleryFolder, content: str, message: str) -> None:
    (gallery.root / SETTINGS).write_text(content)
    with pytest.raises(UserError, match=message):
        gallery.settings()


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such gallery"):
        GalleryFolder(tmp_path / "nothing").settings()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for path in ("photos", "photos/a.jpg"):
        with pytest.raises(UserError, match="not a gallery"):
            GalleryFolder(tmp_path / path).exists()


def test_problems_name_the_damage(gallery: GalleryFolder) -> None:
    names = ("cut", "flipped", "strange", "intact", "sized")
    paths = {name: gallery.add(name, features(1), GALLERY_SETTINGS) for name in names}
    content = bytearray(paths["flipped"].read_bytes())
    content[-1] ^= 1
    paths["flipped"].write_bytes(content)
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:-8])
    gallery.add("strange", features(1), GallerySettings("x", "b" * 64, "euc", 30, 15))
    gallery.add("sized", np.zeros((1, 3, 2), np.float32), GALLERY_SETTINGS)
    (gallery.root / "intact" / ".killed.safetensors.123").touch()
    problems = list(gallery.problems(GALLERY_SETTINGS))
    assert len(problems) == 5
    messages = (str(paths["cut"]), str(paths["flipped"]), "other weights", "sized: features of different", ".killed")
    for message in messages:
        assert sum(message in problem for problem in problems) == 1, (message, problems)


def test_reading_a_deleted_file(gallery: GalleryFolder) -> None:
    path = gallery.add("Ada", features(1), GALLERY_SETTINGS)
    gallery.forget("Ada")
    with pytest.raises(module.MissingFileError):
        gallery.count(path)
