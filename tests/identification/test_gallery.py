"""Enrol, identify and forget people, with a model whose features are mean silhouettes."""

from pathlib import Path

import numpy as np
import pytest

from conftest import make_tree
from dygait.data.stores import open_store
from dygait.errors import UserError
from dygait.identification import Gallery
from dygait.identification.folder import CALIBRATION
from dygait.identification.labelled import Choice, calibrate
from helpers.galleries import MeanSilhouette, walks

PEOPLE = {f"person {n}": n for n in range(5)}


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery.open(tmp_path / "people", MeanSilhouette())
    for name, number in PEOPLE.items():
        assert gallery.enroll(name, walks(number)) == 4
    return gallery


@pytest.fixture
def calibrated(gallery: Gallery, tmp_path: Path) -> Gallery:
    ids, types = [f"{n:03d}" for n in range(12)], ["nm-01", "nm-02"]
    store = open_store(make_tree(tmp_path / "data", ids, types, frames=(30, 45), seed=3))
    calibration = calibrate(gallery.model, store, Choice(), 0.1, (gallery.window, gallery.step), gallery.metric)
    assert calibration.other.shape == (24, 11)
    calibration.save(gallery.folder.root / CALIBRATION, gallery.create())
    return gallery


def test_identify_names_everybody(gallery: Gallery) -> None:
    answers = gallery.identify([frames for n in range(5) for frames in walks(n, 2, seed=1)])
    assert [answer.nearest[0].name for answer in answers] == [f"person {n}" for n in range(5) for _ in range(2)]
    for answer in answers:
        assert answer.decision == "not calibrated"
        assert (answer.name, answer.threshold, answer.wrong) == (None, None, None)
        assert len(answer.nearest) == 5
        assert answer.margin == answer.nearest[1].distance - answer.distance > 0
        assert answer.ratio == answer.distance / answer.nearest[1].distance
        assert answer.frames == 45


def test_known_and_unknown(calibrated: Gallery) -> None:
    known, stranger = calibrated.identify([walks(2, 1, seed=1)[0], walks(9, 1)[0]])
    assert (known.decision, known.name) == ("known", "person 2")
    assert known.distance <= known.threshold < stranger.distance
    assert (stranger.decision, stranger.name) == ("unknown", None)
    assert stranger.nearest[0].name == "person 4"
    assert known.wrong.value < 0.1 < stranger.wrong.value
    assert known.wrong.low <= known.wrong.value <= known.wrong.high
    (tolerant,) = calibrated.identify([walks(9, 1)[0]], fpir=0.9)
    assert tolerant.threshold > stranger.threshold
    with pytest.raises(UserError, match="100 are needed"):
        calibrated.identify(walks(1), fpir=0.01)


def test_a_short_track(gallery: Gallery) -> None:
    short, full = gallery.identify([walks(1)[0][:9], walks(1)[0]])
    assert (short.decision, short.nearest, short.frames) == ("too short", (), 9)
    assert (short.distance, short.margin) == (None, None)
    assert full.nearest[0].name == "person 1"
    assert gallery.identify([]) == []
    with pytest.raises(UserError, match="none of 2 sequences has 15 frames"):
        gallery.enroll("x", [frames[:9] for frames in walks(1)])


def test_a_long_track_is_searched_with_some_of_its_windows(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dygait.identification.gallery._MOST_WINDOWS", 3)
    (answer,) = gallery.identify(walks(3, 1, frames=400))
    assert answer.nearest[0].name == "person 3"
    assert answer.frames == 400


def test_changes_by_other_processes_are_seen(gallery: Gallery) -> None:
    other = Gallery.open(gallery.folder.root, MeanSilhouette())
    (before,) = gallery.identify(walks(7, 1))
    other.enroll("newcomer", walks(7, seed=5))
    (after,) = gallery.identify(walks(7, 1))
    assert [before.nearest[0].name, after.nearest[0].name] == ["person 4", "newcomer"]
    assert other.forget("newcomer") == 1
    (restored,) = gallery.identify(walks(7, 1))
    assert restored.nearest == before.nearest
    assert gallery.names == sorted(PEOPLE)


def test_a_reopened_gallery_gives_the_same_answers(gallery: Gallery) -> None:
    reopened = Gallery.open(gallery.folder.root, MeanSilhouette())
    assert reopened.identify(walks(2)) == gallery.identify(walks(2))
    assert (reopened.window, reopened.step, reopened.metric) == (30, 15, "euc")


def test_other_weights_and_windows_are_refused(gallery: Gallery) -> None:
    other = Gallery.open(gallery.folder.root, MeanSilhouette("b" * 64))
    for use in (lambda: other.enroll("x", walks(1)), lambda: other.identify(walks(1))):
        with pytest.raises(UserError, match=r"made with the weights made .* cannot be compared"):
            use()
    with pytest.raises(UserError, match=r"--window 20: the gallery .* has window 30"):
        Gallery.open(gallery.folder.root, MeanSilhouette(), window=20)


def test_exported_weights_are_accepted(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = []
    monkeypatch.setattr(
        "dygait.identification.gallery.load_exported", lambda path: paths.append(path) or MeanSilhouette()
    )
    exported = Gallery.open(gallery.folder.root, "mean.onnx")
    assert exported.identify(walks(2)) == gallery.identify(walks(2))
    assert paths == ["mean.onnx"]


def test_window_and_step_are_stored(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "people", MeanSilhouette(metric="cos"), window=20, step=5)
    assert gallery.enroll("x", walks(1, 1)) == 6
    reopened = Gallery.open(tmp_path / "people", MeanSilhouette())
    assert (reopened.window, reopened.step, reopened.folder.settings().metric) == (20, 5, "cos")
    with pytest.raises(UserError, match="--step 0"):
        Gallery.open(tmp_path / "others", MeanSilhouette(), step=0)


def test_an_empty_gallery(tmp_path: Path, gallery: Gallery) -> None:
    with pytest.raises(UserError, match="no such gallery"):
        Gallery.open(tmp_path / "nobody", MeanSilhouette()).identify(walks(1))
    assert not (tmp_path / "nobody").exists()
    for name in PEOPLE:
        gallery.forget(name)
    with pytest.raises(UserError, match="nobody is enrolled"):
        gallery.identify(walks(1))


def test_silhouettes_are_kept_on_request_only(gallery: Gallery) -> None:
    assert gallery.silhouettes("person 1") is None
    gallery.enroll("person 1", walks(1), keep_silhouettes=True)
    silhouettes = gallery.silhouettes("person 1")
    assert silhouettes.shape == (4, 64, 64)
    assert silhouettes.dtype == np.uint8
    others = [path for name, files in gallery.folder.people().items() if name != "person 1" for path in files]
    assert max(path.stat().st_size for path in others) < 64 * 64


def test_features_that_are_not_finite(tmp_path: Path) -> None:
    model = MeanSilhouette()
    model.features = lambda *_: np.nan * MeanSilhouette.features(model, *_)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="not finite"):
        Gallery.open(tmp_path / "people", model).enroll("x", walks(1))
    assert not (tmp_path / "people").exists()
