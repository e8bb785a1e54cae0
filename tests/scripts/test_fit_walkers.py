"""The fit of SynGait's walkers to mean silhouettes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dygait.synthetic import cameras, real_people, walker
from helpers.scripts import load_script, run_script

WALKERS = "syngait://quick?seed=5&train_ids=3&test_ids=0&frames=12&people.walks=1,0,0&people.calibrated=1"


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Restore means and cameras, which the script changes."""
    places = (real_people.BODY, real_people.GAIT, cameras.POSITIONS)
    before = [dict(place) for place in places]  # type: ignore[call-overload]
    yield
    for place, content in zip(places, before, strict=True):
        place.clear()
        place.update(content)
    for cached in (cameras.camera, walker.draw_subject, walker.walk):
        cached.cache_clear()


@pytest.mark.usefixtures("unchanged")
def test_the_means_of_the_data_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data are the same walkers with the shifts that ship, from which the fit starts without."""
    expected = {**real_people.BODY, **real_people.GAIT}
    script, figures = load_script("fit_walkers"), tmp_path / "figures.json"
    options = ["--data", WALKERS, "--people", "001-003", "--types", "nm-01", "--world", WALKERS, "--steps", "2"]
    run_script(script, [*options, "--processes", "1", "--json", str(figures)], monkeypatch)
    result = json.loads(figures.read_text())
    assert result["costs"][0] > 1.8 * result["costs"][1] > 2 * result["costs"][2]
    printed = dict(re.findall(r'"(\w+)": (\S+),', capsys.readouterr().out))
    for name in ("lean", "arm_scale", "hip_scale", "shoulder_scale"):
        assert 0.3 < float(printed[name]) / expected[name] < 1.7, name


def test_statistics() -> None:
    script = load_script("fit_walkers")
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 256, (length, 64, 64), dtype=np.uint8) for length in (3, 7)]
    means, deviations = script.statistics(sequences)
    assert means[5, 9] == pytest.approx(np.mean([s[:, 5, 9].mean() / 255 for s in sequences]), abs=1e-6)
    assert deviations[5, 9] == pytest.approx(np.mean([s[:, 5, 9].std() / 255 for s in sequences]), abs=1e-6)
