"""The measurement of how people differ."""

import re

import numpy as np
import pytest

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


def test_all_traits_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    world = WALKERS.replace("train_ids=4", "train_ids=1") + "&people.walks=1,0,0"
    options = ["--data", WALKERS, "--people", "001-003", "--world", world, "--factors", "2", "--processes", "1"]
    run_script(SCRIPT, options, monkeypatch)
    rows = re.findall(r'^    "(\w+)": \((\S+), (\S+)\),$', capsys.readouterr().out, re.MULTILINE)
    assert len(rows) == len(SCRIPT.names(SCRIPT.Physique)) + len(SCRIPT.names(SCRIPT.Style))
    assert sum(abs(float(first)) > 0 for _, first, _ in rows) > 30
