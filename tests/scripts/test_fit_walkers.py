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
SCRIPT = load_script("fit_walkers")


def printed_shifts(text: str) -> dict[str, float]:
    """Return the shifts that the script printed."""
    return {name: float(value) for name, value in re.findall(r'"(\w+)": (\S+),', text)}


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Restore means and cameras, which the script changes."""
    places = (real_people.BODY, real_people.GAIT, real_people.COAT, real_people.BAG, cameras.POSITIONS)
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
    figures = tmp_path / "figures.json"
    world = f"{WALKERS}&wardrobe.outfits=1"
    options = ["--data", world, "--people", "001-003", "--types", "nm-01", "--world", world, "--steps", "3"]
    run_script(SCRIPT, [*options, "--processes", "1", "--json", str(figures)], monkeypatch)
    result = json.loads(figures.read_text())
    assert result["costs"][0] > 1.8 * result["costs"][1] > 2 * result["costs"][2]
    printed = printed_shifts(capsys.readouterr().out)
    for name in ("lean", "arm_scale", "hip_scale", "shoulder_scale"):
        assert 0.3 < printed[name] / expected[name] < 1.7, name


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("part", "kind", "walks", "name"),
    [
        ("clothes", "nm-01", "1,0,0", "hair_length"),
        ("coats", "cl-01", "0,0,1", "length"),
        ("bags", "bg-01", "0,1,0", "length"),
    ],
)
def test_what_is_worn_is_found(
    part: str, kind: str, walks: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The body stays as it is."""
    table = {"clothes": real_people.BODY, "coats": real_people.COAT, "bags": real_people.BAG}[part]
    expected, world = dict(table), WALKERS.replace("walks=1,0,0", f"walks={walks}")
    options = ["--data", world, "--people", "001-003", "--types", kind, "--world", world, "--steps", "2"]
    run_script(SCRIPT, [*options, "--processes", "1", "--fit", part], monkeypatch)
    printed = printed_shifts(capsys.readouterr().out)
    assert 0.3 < printed[name] / expected[name] < 1.7
    assert {trait: printed[trait] for trait in printed if trait in ("leg_scale", "lean")} == (
        {"leg_scale": expected["leg_scale"]} if part == "clothes" else {}
    )


def test_statistics() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 256, (length, 64, 64), dtype=np.uint8) for length in (3, 7)]
    means, deviations = SCRIPT.statistics(sequences)
    assert means[5, 9] == pytest.approx(np.mean([s[:, 5, 9].mean() / 255 for s in sequences]), abs=1e-6)
    assert deviations[5, 9] == pytest.approx(np.mean([s[:, 5, 9].std() / 255 for s in sequences]), abs=1e-6)
