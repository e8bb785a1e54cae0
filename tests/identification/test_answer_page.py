"""The page of answers is well formed and escaped, and shows the silhouettes that the gallery keeps."""

from pathlib import Path

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.identification import Gallery
from dygait.identification.answers import Identified, table
from dygait.identification.calibration import Calibration
from dygait.identification.folder import CALIBRATION
from dygait.identification.page import write_page
from dygait.identification.walks import Walk
from helpers.galleries import MeanSilhouette, walks
from helpers.page_parser import Page

EVIL = "<b>Ada & Co"


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.open(tmp_path / "people", MeanSilhouette())
    gallery.enroll(EVIL, walks(1), keep_silhouettes=True)
    gallery.enroll("Bob", walks(4))
    return gallery


def results(gallery: Gallery) -> list[Identified]:
    sequences = [walks(1, 1, seed=1)[0], walks(8, 1)[0], walks(8, 1)[0][:5]]
    answers = gallery.identify(sequences)
    tracks = [Walk(f"{n}/<i>", frames) for n, frames in enumerate(sequences, 1)]
    return [Identified(walk.reduced(), answer) for walk, answer in zip(tracks, answers, strict=True)]


def write(gallery: Gallery, folder: Path) -> Page:
    write_page(results(gallery), gallery, "corridor & stairs.mp4", folder / "page.html")
    return Page((folder / "page.html").read_text(encoding="utf-8"))


def test_without_a_calibration(gallery: Gallery, tmp_path: Path) -> None:
    page = write(gallery, tmp_path)
    assert "corridor & stairs.mp4" in page.headings
    assert EVIL in page.texts
    assert "1/<i>: not calibrated" in page.texts
    assert "3/<i>: too short" in page.texts
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 3 + 2  # three tracks, and the kept silhouettes of EVIL beside two of them
    assert all(str(source).startswith("data:image/png;base64,") for source in sources)
    assert not page.all("script")
    assert not page.all("link")


def test_a_track_without_frames_has_no_picture(gallery: Gallery, tmp_path: Path) -> None:
    empty = np.empty((0, 64, 64), np.uint8)
    (answer,) = gallery.identify([empty])
    write_page([Identified(Walk("1", empty).reduced(), answer)], gallery, "x", tmp_path / "page.html")
    assert "<img" not in (tmp_path / "page.html").read_text()


def test_with_a_calibration(gallery: Gallery, tmp_path: Path) -> None:
    ratios = [a.nearest[0].distance / a.nearest[1].distance for _, a in results(gallery)[:2]]
    middle = np.float32(np.mean(ratios))
    settings = gallery.folder.settings()
    other = np.array([[middle, 1, 1, 1]] * 30, np.float32)
    calibration = Calibration(np.full(30, middle / 2, np.float32), other, np.arange(30) % 5, "test & data", 0.1)
    calibration.save(gallery.folder.root / CALIBRATION, settings)
    text = " ".join(write(gallery, tmp_path).texts)
    assert f"1/<i>: {EVIL}" in text
    assert "2/<i>: unknown" in text
    assert "calibrated on test & data, 30 searches" in text


def test_the_text_table(gallery: Gallery) -> None:
    lines = table(results(gallery)).splitlines()
    assert len(lines) == 2 + 3
    assert "strangers" not in lines[0]
    assert EVIL in lines[2]
    assert "too short" in lines[4]


def test_a_page_that_cannot_be_written(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--page"):
        write_page(results(gallery), gallery, "x", tmp_path / "file" / "page.html")
