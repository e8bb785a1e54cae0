"""Thresholds and rates against means over all galleries, and against the open-set rates of `evaluation`."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation.openset import identify
from dygait.identification.calibration import Calibration
from dygait.identification.folder import GallerySettings

SETTINGS = GallerySettings("test", "a" * 64, "euc", 30, 15)


def make_calibration(searches: int = 40, others: int = 6, fpir: float = 0.1) -> Calibration:
    rng = np.random.default_rng(0)
    subjects = np.arange(searches) % (others + 1)
    other = np.sort(rng.uniform(1, 3, (searches, others)).astype(np.float32), 1)
    return Calibration(rng.uniform(0.5, 2, searches).astype(np.float32), other, subjects, "test", fpir)


@pytest.mark.parametrize("people", [1, 2, 5, 6])
@pytest.mark.parametrize("ratio", [0.6, 0.9, 0.97, 1.0])
def test_rates_are_means_over_all_galleries_of_a_size(people: int, ratio: float) -> None:
    calibration = make_calibration()
    others, match = calibration.other.shape[1], calibration.match
    threshold = 2 * ratio if people == 1 else ratio  # of the distance, not of the ratio
    subsets = [list(c) for c in itertools.combinations(range(others), people)]
    alarms = np.mean([is_known(calibration.other[:, c], threshold) for c in subsets])
    assert calibration.false_positive_rate(threshold, people).value == pytest.approx(alarms)
    hits = []
    for subset in itertools.combinations(range(others), people - 1):
        gallery = np.concatenate([match[:, None], calibration.other[:, list(subset)]], 1)
        hits.append(is_known(gallery, threshold) & (gallery.argmin(1) == 0))
    assert calibration.identification_rate(threshold, people).value == pytest.approx(np.mean(hits))


def is_known(distance: np.ndarray, threshold: float) -> np.ndarray:
    """Return whether each search is below the threshold, from its distances to all people."""
    nearest = np.sort(distance, 1)
    return nearest[:, 0] <= threshold * (nearest[:, 1] if distance.shape[1] > 1 else 1)


@pytest.mark.parametrize("fpir", [0.025, 0.1, 0.5])
def test_the_threshold_of_all_people_equals_that_of_the_evaluation(fpir: float) -> None:
    calibration = make_calibration()
    threshold = calibration.threshold(6, fpir)
    ratios = calibration.other[:, 0] / calibration.other[:, 1]
    assert (ratios <= threshold).mean() <= fpir < (ratios <= threshold + 1e-5).mean()
    nearest = calibration.other[:, 0]
    match = calibration.match / nearest
    expected = identify(match, ratios, match <= 1, [fpir])
    assert (match <= threshold).mean() == pytest.approx(expected.dir_at_fpir[fpir])


def test_larger_galleries_than_the_calibration_use_its_size() -> None:
    calibration = make_calibration()
    assert calibration.threshold(100) == calibration.threshold(6) != calibration.threshold(2)
    assert calibration.false_positive_rate(0.9, 7) == calibration.false_positive_rate(0.9, 6)


def test_intervals_contain_the_values() -> None:
    calibration = make_calibration(400, 6)
    threshold = calibration.threshold(6)
    low, high = calibration.threshold_interval(6)
    assert low < threshold < high
    rate = calibration.false_positive_rate(threshold, 6)
    assert rate.low < rate.value < rate.high
    assert calibration.false_positive_rate(low, 6).high <= 0.1
    assert calibration.false_positive_rate(high, 6).low <= 0.1


def test_errors_of_fpir() -> None:
    with pytest.raises(UserError, match=r"--fpir 0\.01: .* 40 searches, and 100 are needed"):
        make_calibration().threshold(3, 0.01)
    with pytest.raises(UserError, match="between 0 and 1"):
        make_calibration().threshold(3, 1.5)


def test_round_trip(tmp_path: Path) -> None:
    calibration, path = make_calibration(), tmp_path / "calibration.safetensors"
    assert Calibration.load(path, SETTINGS) is None
    calibration.save(path, SETTINGS)
    loaded = Calibration.load(path, SETTINGS)
    assert loaded is not None
    assert loaded.threshold(4) == calibration.threshold(4)
    assert (loaded.source, loaded.fpir) == ("test", 0.1)
    with pytest.raises(UserError, match="other weights than the gallery"):
        Calibration.load(path, GallerySettings("x", "b" * 64, "euc", 30, 15))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        Calibration.load(path, SETTINGS)
