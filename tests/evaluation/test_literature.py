"""Published results: what the file holds, and beside which tests they stand: the same in all that matters."""

from dataclasses import replace
from typing import Any

import pytest

from dygait.evaluation import PROTOCOLS, SUBMISSIONS, EvaluationResult, literature, to_text
from dygait.evaluation.literature import MEAN, PublishedResult, comparable, with_published

IDS = [f"{subject:03d}" for subject in range(75, 125)]
OWN = {"NM": 97.0, "BG": 93.0, "CL": 80.0}


def result(protocol: str = "CASIA-B", **percentages: float) -> EvaluationResult:
    found = {group: {"rank-1": value, "per view": {"090": value}} for group, value in (percentages or OWN).items()}
    chosen = PROTOCOLS.get(protocol)
    return EvaluationResult(
        chosen.name, chosen.description, "euc", measures=("rank-1",), percentages=found,
        chance=dict.fromkeys(found, 2.0), counts={group: {"probes": 1, "gallery": 1} for group in found},
    )  # fmt: skip


def origin(dataset: str = "CASIA-B", size: tuple[int, ...] = (64, 44), test: str | None = None) -> dict[str, Any]:
    names = {"dataset_name": dataset, "test_dataset_name": test}
    return {"config": {"data_cfg": names}, "frame_size": [*size]}


def test_the_file() -> None:
    content = literature.literature()
    for of in content["datasets"].values():
        known = of["protocol"] in PROTOCOLS or of["protocol"] in SUBMISSIONS
        assert known or of["protocol"] == "the source's own"
        if of["protocol"] in PROTOCOLS:
            assert {*of["groups"]} <= {MEAN, *PROTOCOLS.get(of["protocol"]).groups}
    for one in content["results"]:
        assert one.source in content["sources"]
        assert one.trained_on is None or one.trained_on in content["datasets"]
        assert one.percentages
        assert len(one.input) in (0, 2)
        for dataset, values in one.percentages.items():
            assert values.keys() <= {MEAN, *content["datasets"][dataset]["groups"]}
            assert all(1 < value < 100 for value in values.values())
    names = [(one.name, one.source, one.trained_on, *one.percentages) for one in content["results"]]
    assert len(set(names)) == len(names)


def test_what_is_comparable_on_casia_b() -> None:
    found = comparable(result(), origin(), IDS)
    assert {(one.model, one.source) for one in found} == {
        *((model, source) for model in ("GaitSet", "GaitPart", "GaitGL") for source in ("paper", "OpenGait")),
        ("GaitBase", "OpenGait"), ("DyGait", "paper"),
    }  # fmt: skip
    assert comparable(result(), origin(size=(1, 64, 44)), IDS) == found, "one channel"
    large = comparable(result(), origin(size=(128, 88)), IDS)
    assert [one.model for one in large] == ["GLN", "GLN, without the compact block"]


@pytest.mark.parametrize(
    ("own", "of", "ids"),
    [
        (result(), origin("SynGait"), IDS),
        (result(), origin("SynGait", test="CASIA-B"), IDS),
        (result(), origin("CASIA-B", test="SynGait"), IDS),
        (result(), origin(size=(32, 22)), IDS),
        (result(), {}, IDS),
        (result(), {"config": origin()["config"]}, IDS),
        (result(), origin(), IDS[:49]),
        (result("CASIA-B/cross-view"), origin(), IDS),
        (replace(result(), description="CASIA-B; re-ranked"), origin(), IDS),
        (result("GREW", probe=50.0), origin("GREW"), [str(n) for n in range(6000)]),
    ],
    ids=["data", "training", "test", "input", "unknown", "unknown input", "subjects", "protocol", "re-ranked", "GREW"],
)
def test_what_is_not(own: EvaluationResult, of: dict[str, Any], ids: list[str]) -> None:
    """GREW's figures are of its server, which has other probes than the local protocol."""
    assert comparable(own, of, ids) == []
    assert with_published(own, of, ids, "mine")[1] == []


def test_between_datasets_and_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of another training set stands beside a test of that training set alone."""
    near = PublishedResult("A", 2020, "paper", [64, 44], percentages={"CASIA-B": {MEAN: 60.0}})
    far = PublishedResult("B", 2021, "paper", [64, 44], "colours", "CCPG", {"CASIA-B": {"CL": 30.0}})
    content = {**literature.literature(), "results": [near, far]}
    monkeypatch.setattr(literature, "literature", lambda: content)
    assert with_published(result(), origin(), IDS, "mine") == (
        [MEAN],
        [("mine", "this test", [90.0]), ("A (2020)", "paper", [60.0])],
    )
    groups, rows = with_published(result(), origin("CCPG", test="CASIA-B"), IDS, "mine")
    assert (groups, rows) == (["CL"], [("mine", "this test", [80.0]), ("B (2021, colours)", "paper", [30.0])])
    assert with_published(result(NM=97.0), origin("CCPG", test="CASIA-B"), IDS, "mine")[1] == [], "no group of ours"


def test_the_printed_table() -> None:
    text = to_text(result(), published=with_published(result(), origin(), IDS, "DyGait"))
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("published rank-1"))
    assert lines[start + 1].split() == ["source", "NM", "BG", "CL"]
    assert lines[start + 3].split() == ["DyGait", "this", "test", "97.0", "93.0", "80.0"]
    assert "DyGait (2023)    paper      98.4  96.2  87.8" in lines
    assert "published" not in to_text(result())
