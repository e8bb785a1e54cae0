"""The measurement of how people differ."""

import json
from pathlib import Path

import numpy as np
import pytest

from dygait.synthetic import real_people
from helpers.scripts import load_script, run_script

SCRIPT = load_script("fit_covariance")
WALKERS = "syngait://quick?seed=5&train_ids=4&test_ids=0&frames=4&people.calibrated=1"


def test_the_factors_of_linear_pictures_are_found() -> None:
    """Pictures that are sums of slopes times traits, and noise of each half."""
    rng = np.random.default_rng(0)
    slopes, loadings = rng.normal(0, 3, (5, 200)), rng.normal(0, 1, (5, 2))
    traits = rng.standard_normal((3000, 2)) @ loadings.T
    pictures = traits[:, None] @ slopes + rng.normal(0, 2, (3000, 2, 200))
    found = SCRIPT.factors((pictures - pictures.mean((0, 1))) @ slopes.T, slopes @ slopes.T, 2)
    np.testing.assert_allclose(found @ found.T, loadings @ loadings.T, atol=0.25)
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()


def test_directions_that_pictures_do_not_tell_are_left_out() -> None:
    rng = np.random.default_rng(0)
    slopes = np.diag([10.0, 0.1])
    traits = np.repeat(rng.standard_normal((50, 1, 2)), 2, 1)
    found = SCRIPT.factors((traits @ slopes) @ slopes.T, slopes @ slopes.T, 2)
    np.testing.assert_allclose(found[1], 0, atol=1e-9)
    assert abs(found[0]).max() == pytest.approx(traits[:, 0, 0].std(ddof=1), rel=0.1)


def test_all_traits_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, target = WALKERS.replace("train_ids=4", "train_ids=1") + "&people.walks=1,0,0", tmp_path / "factors.json"
    options = ["--data", WALKERS, "--people", "001-003", "--world", world, "--factors", "2", "--processes", "1"]
    run_script(SCRIPT, [*options, "--output", str(target)], monkeypatch)
    found = json.loads(target.read_text())
    assert set(found) == set(real_people.factors())
    assert sum(abs(first) > 0 for first, _ in found.values()) > 30
