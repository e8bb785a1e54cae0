"""Published results: the content of the file, and the tests that they are comparable with."""

from dataclasses import replace
from typing import Any

import pytest

from dygait.evaluation import PROTOCOLS, SUBMISSIONS, EvaluationResult, literature, to_text
from dygait.evaluation.literature import MEAN, PublishedResult, comparable, with_published

IDS = [f"{subject:03d}" for subject in range(75, 125)]
PERCENTAGES = {"NM": 97.0, "BG": 93.0, "CL": 80.0}


def result(protocol: str = "CASIA-B", **percentages: float) -> EvaluationResult:
    values = {group: {"rank-1": x, "per view": {"090": x}} for group, x in (percentages or PERCENTAGES).items()}
    declared = PROTOCOLS.get(protocol)
    return EvaluationResult(
        declared.name, declared.description, "euc", measures=("rank-1",), percentages=values,
        chance=dict.fromkeys(values, 2.0), counts={group: {"probes": 1, "gallery": 1} for group in values},
    )  # fmt: skip


def origin(dataset: str = "CASIA-B", size: tuple[int, ...] = (64, 44), test: str | None = None) -> dict[str, Any]:
    names = {"dataset_name": dataset, "test_dataset_name": test}
    return {"config": {"data_cfg": names}, "frame_size": [*size]}


def test_the_content_of_the_file() -> None:
    content = literature.literature()
    for dataset in content["datasets"].values():
        known = dataset["protocol"] in PROTOCOLS or dataset["protocol"] in SUBMISSIONS
        assert known or dataset["protocol"] == "the source's own"
        if dataset["protocol"] in PROTOCOLS:
            assert {*dataset["groups"]} <= {MEAN, *PROTOCOLS.get(dataset["protocol"]).groups}
    for result in content["results"]:
        assert result.source in content["sources"]
        assert result.trained_on is None or result.trained_on in content["datasets"]
        assert result.percentages
        assert len(result.input) in (0, 2)
        for name, values in result.percentages.items():
            assert values.keys() <= {MEAN, *content["datasets"][name]["groups"]}
            assert all(1 < value < 100 for value in values.values())
    keys = [(result.name, result.source, result.trained_on, *result.percentages) for result in content["results"]]
    assert len(set(keys)) == len(keys)


def test_comparable_results_on_casia_b() -> None:
    published = comparable(result(), origin(), IDS)
    assert {(other.model, other.source) for other in published} == {
        *((model, source) for model in ("GaitSet", "GaitPart", "GaitGL") for source in ("paper", "OpenGait")),
        ("GaitBase", "OpenGait"), ("DyGait", "paper"),
    }  # fmt: skip
    assert comparable(result(), origin(size=(1, 64, 44)), IDS) == published, "one channel"
    large = comparable(result(), origin(size=(128, 88)), IDS)
    assert [other.model for other in large] == ["GLN", "GLN, without the compact block"]


@pytest.mark.parametrize(
    ("tested", "source", "ids"),
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
def test_results_that_are_not_comparable(tested: EvaluationResult, source: dict[str, Any], ids: list[str]) -> None:
    """Published results on GREW are from its server, whose probes differ from those of the local protocol."""
    assert comparable(tested, source, ids) == []
    assert with_published(tested, source, ids, "mine")[1] == []


def test_other_training_sets_and_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of another training set is comparable only with a test of the same training set."""
    within_dataset = PublishedResult("A", 2020, "paper", [64, 44], percentages={"CASIA-B": {MEAN: 60.0}})
    across_datasets = PublishedResult("B", 2021, "paper", [64, 44], "colours", "CCPG", {"CASIA-B": {"CL": 30.0}})
    content = {**literature.literature(), "results": [within_dataset, across_datasets]}
    monkeypatch.setattr(literature, "literature", lambda: content)
    assert with_published(result(), origin(), IDS, "mine") == (
        [MEAN],
        [("mine", "this test", [90.0]), ("A (2020)", "paper", [60.0])],
    )
    groups, rows = with_published(result(), origin("CCPG", test="CASIA-B"), IDS, "mine")
    assert (groups, rows) == (["CL"], [("mine", "this test", [80.0]), ("B (2021, colours)", "paper", [30.0])])
    assert with_published(result(NM=97.0), origin("CCPG", test="CASIA-B"), IDS, "mine")[1] == [], "no group in common"


def test_the_text_table() -> None:
    text = to_text(result(), published=with_published(result(), origin(), IDS, "DyGait"))
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("published rank-1"))
    assert lines[start + 1].split() == ["source", "NM", "BG", "CL"]
    assert lines[start + 3].split() == ["DyGait", "this", "test", "97.0", "93.0", "80.0"]
    assert "DyGait (2023)    paper      98.4  96.2  87.8" in lines
    assert "published" not in to_text(result())
