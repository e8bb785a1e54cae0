"""The comparison of whitening by real and by synthetic people."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_tree
from dygait.deployment.whitening import within_class_whitening
from helpers.scripts import load_script, run_script

TYPES = ("nm-01", "nm-05", "bg-01", "cl-01")
WORLD = "syngait://quick?train_ids=2&test_ids=1&frames=18&people.walks=1,0,0"


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = ("000", "090", "180")
    data = make_tree(tmp_path / "data", ("001", "002", "050", "051"), TYPES, views, frames=(18, 20))
    script, figures = load_script("compare_whitening"), tmp_path / "figures.json"
    options = ["--data", str(data), "--world", WORLD, "--cache", str(tmp_path / "cache"), "--json", str(figures)]
    run_script(script, options, monkeypatch)
    rows = json.loads(figures.read_text())["rows"]
    assert [len(row) for row in rows] == [4] * 6 + [6]
    assert all(0 <= float(value) <= 100 for row in rows for value in row[1:])
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_parts_of_the_covariance() -> None:
    script, rng = load_script("compare_whitening"), np.random.default_rng(0)
    ids, views = np.repeat(["a", "b", "c"], 8), np.tile(["000", "090"], 12)
    shift = np.where(views == "000", 3.0, -3.0)[:, None, None] * np.eye(4)[0][:, None]
    features = rng.normal(size=(24, 4, 2)) + shift
    people = script.Embedded(features, ids, np.tile(["nm-01"], 24), views)
    whitenings = script.of_real(people)
    np.testing.assert_allclose(whitenings["people"][1], within_class_whitening(features, ids)[1])
    alone = whitenings["the mean of each view alone"][1]
    gains = np.linalg.norm(alone[0], axis=1)  # of each channel of part 0: the views differ in the first
    assert gains.argmin() == 0
    assert script.compare_views(people, people) == pytest.approx((1, 1))
