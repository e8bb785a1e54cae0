"""The scripts about identification: the benchmarks, and the protocol on CASIA-B."""

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conftest import make_tree
from dygait.data.stores import open_store
from dygait.synthetic.video import Appearance, Scene
from dygait.video import Track
from helpers.galleries import MeanSilhouette
from helpers.scripts import load_script, run_script


def test_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures, script = tmp_path / "figures.json", load_script("benchmark_identification")
    options = ["--quick", "--windows", "400", "1000", "--tracks", "2", "--json", str(figures)]
    run_script(script, options, monkeypatch)
    result = json.loads(figures.read_text())
    assert result.keys() == {"ratios", "details", "environment"}
    assert result["ratios"].keys() == {"search_400", "search_1000"}
    assert min(result["ratios"].values()) > 0


def test_the_benchmark_of_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackers", reason="trackers is not installed: pip install 'dygait[video]'")
    figures, script = tmp_path / "figures.json", load_script("benchmark_video")
    run_script(script, ["--quick", "--minutes", "0.1", "--json", str(figures)], monkeypatch)
    result = json.loads(figures.read_text())
    assert result["ratios"].keys() >= {"silhouettes", "identify"}
    assert min(result["ratios"].values()) > 0
    assert result["details"]["frames"] == 249  # of one round, without its first frame
    assert len(result["details"]["memory after each round, MB"]) == 1


def test_from_a_video_to_a_name_with_known_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the true masks everybody is recognised; lone walkers are segmented well."""
    pytest.importorskip("trackers", reason="trackers is not installed: pip install 'dygait[video]'")
    figures, script = tmp_path / "figures.json", load_script("evaluate_video")
    run_script(script, ["--quick", "--json", str(figures)], monkeypatch)
    details = json.loads(figures.read_text())["details"]
    assert details["walks"] >= details["walks with a usable track"] > 0
    assert details["usable tracks of nobody"] == 0
    assert details["IoU of lone walkers, mean over tracks"] > 0.85  # a quarter of the usual size
    assert details["true masks"]["rank-1, NM"].startswith("100.0")


def test_a_track_is_judged_by_its_boxes() -> None:
    script = load_script("evaluate_video")
    person = np.zeros((64, 64), np.uint8)
    person[:, 24:40] = 255
    assert script.iou(np.roll(person, 1, 1), person) == 1
    assert script.iou(np.roll(person, 9, 1), person) < 0.5
    assert script.overlap((0, 0, 10, 20), (5, 0, 10, 20)) == pytest.approx(1 / 3)
    scene = Scene((Appearance(1, "nm-01", 0.0), Appearance(2, "nm-01", 0.0)), 1.0)
    first, second = (0, 0, 40, 80), (100, 0, 40, 80)
    truth = script.Truth(scene, [{1: (first, person), 2: (second, person)}] * 2 + [{1: (first, person)}] * 2)
    boxes = np.array([second, first, first, first])
    track = Track("video", 1, np.stack([person] * 4), np.arange(4), np.arange(4) / 25, boxes, ("",) * 4, "", {}, ())
    judged = script.judge(track, truth)
    assert (judged.number, judged.others, judged.ious) == (1, 1, [1, 1])
    far = dataclasses.replace(track, boxes=np.array([(300, 0, 40, 80)] * 4))
    assert script.judge(far, truth) is None


def test_the_benchmark_fails_if_the_answers_differ() -> None:
    script = load_script("benchmark_identification")
    exact, other = (script.Candidate("a", distance) for distance in (1.0, 1.001))
    script.check([exact], [exact])
    with pytest.raises(SystemExit):
        script.check([exact], [other])


@pytest.fixture
def script() -> ModuleType:
    return load_script("evaluate_identification")


def test_the_protocol_of_casia_b(script: ModuleType, tmp_path: Path) -> None:
    kinds = ["nm-01", "nm-02", "nm-05", "bg-01", "cl-02"]
    ids = [f"{n:03d}" for n in range(1, 13)]
    store = open_store(make_tree(tmp_path / "data", ids, kinds, ["054", "072", "090"], frames=(30, 40)))
    searches = script.search(MeanSilhouette(), store, set(ids[:8]), "euc")
    assert searches.people == ids[:8]
    assert sorted(zip(searches.groups, searches.views, strict=True)) == sorted(
        (group, view) for group in ("NM", "BG", "CL") for view in ("072", "090") for _ in range(8)
    )
    ranks = script.rank_1(searches)
    correct = searches.distance.argmin(1) == searches.subjects
    assert ranks["NM"]["mean"]["value"] == pytest.approx(100 * correct[searches.groups == "NM"].mean())
    assert ranks["CL"].keys() == {"072", "090", "mean"}
    calibration = script.search_as_calibration(script.search(MeanSilhouette(), store, set(ids[6:]), "euc"), "test")
    assert calibration.other.shape == (36, 5)
    thresholds = {"others": calibration}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "FPIRS", (0.1, 0.5))
        rates = script.open_set(searches, thresholds, 5)
    assert rates.keys() == {"NM", "BG", "CL", "all"}
    from_searches, from_others = (rates["all"]["0.5"][source] for source in ("searches", "others"))
    assert from_searches["FPIR"] == 50
    assert 0 <= from_others["FPIR"] <= 100
    assert rates["all"]["0.1"]["searches"]["DIR"] <= from_searches["DIR"] <= 100


def test_too_few_people(script: ModuleType, tmp_path: Path) -> None:
    store = open_store(make_tree(tmp_path / "data", ["001"], ["nm-01", "nm-05"], ["090"], frames=(30, 30)))
    with pytest.raises(SystemExit, match="two are needed"):
        script.search(MeanSilhouette(), store, {"001"}, "euc")
