"""The commands `dygait enroll`, `identify`, `calibrate` and `gallery`, with the network of a run."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dygait.cli import main
from dygait.config import load_config
from dygait.runs.checkpoint_files import save_checkpoint
from dygait.runs.networks import build_network
from helpers.experiments import Experiment, make_experiment

PEOPLE = {"Ada": "001", "Bob": "002", "Zoë": "003"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run whose network has its initial weights, and sequences of 40 to 50 frames of six people."""
    experiment = make_experiment(tmp_path_factory.mktemp("run"), frames=(40, 50), views=("000",))
    config = load_config(experiment.config)
    network = build_network(config, torch.device("cpu"))
    state = {"model": network.state_dict(), "config": config.as_dict(), "iteration": 2}
    save_checkpoint(experiment.checkpoints / "tiny-00002.pt", state)
    return experiment


@pytest.fixture(scope="module")
def calibrated(run: Experiment) -> Path:
    """A gallery of three people, calibrated on all six."""
    people = run.output.parent / "people"
    for name, subject in PEOPLE.items():
        walks = str(run.root / subject / "nm-01")
        options = ["--keep-silhouettes"] if name == "Ada" else []
        assert main(["enroll", name, walks, "--gallery", str(people), "--weights", str(run.folder), *options]) == 0
    assert main(["calibrate", str(run.root), "--gallery", str(people), "--enrolled", "nm-01", "--fpir", "0.2"]) == 0
    return people


@pytest.fixture
def people(calibrated: Path, tmp_path: Path) -> Path:
    """A copy of the gallery, which a test may change."""
    return Path(shutil.copytree(calibrated, tmp_path / "people"))


def test_from_enrolment_to_answers(
    people: Path, run: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, page = tmp_path / "answers.json", tmp_path / "page" / "answers.html"
    arguments = [str(run.root), "--gallery", str(people), "--sequences", "00[13]/nm-05/*"]
    assert main(["identify", *arguments, "--json", str(answers), "--page", str(page)]) == 0
    output = capsys.readouterr().out
    result = json.loads(answers.read_text())
    assert [track["track"] for track in result["tracks"]] == ["001/nm-05/000", "003/nm-05/000"]
    assert result["people"] == 3
    for track in result["tracks"]:
        assert track["track"] in output
        assert (track["decision"] == "known") == (track["distance"] <= track["threshold"])
        assert track["name"] == (track["nearest"][0]["name"] if track["decision"] == "known" else None)
        assert [candidate["rank"] for candidate in track["nearest"]] == [1, 2, 3]
        assert {candidate["name"] for candidate in track["nearest"]} == set(PEOPLE)
        assert track["margin"] == track["nearest"][1]["distance"] - track["distance"]
        assert 0 <= track["strangers_as_near"]["low"] <= track["strangers_as_near"]["value"] <= 1
        assert f"{track['distance']:.4g}" in output
        assert f"{track['distance']:.4g}" in page.read_text()
    assert "Zoë" in page.read_text()


def test_calibrate_prints_its_counts(run: Experiment, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--gallery", str(people), "--enrolled", "nm-01", "--fpir", "0.1"]
    assert main(["calibrate", str(run.root), *options]) == 0
    output = capsys.readouterr().out
    assert "6 people" in output
    assert "18 searches" in output
    assert "3 (this gallery)" in output


def test_list_forget_and_verify(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", "list", str(people)]) == 0
    output = capsys.readouterr().out
    assert "3 people" in output
    assert all(name in output for name in PEOPLE)
    assert main(["gallery", "forget", str(people), "Bob"]) == 0
    assert "forgot Bob: 1 enrolments are deleted" in capsys.readouterr().out
    assert main(["gallery", "list", str(people)]) == 0
    assert "Bob" not in capsys.readouterr().out
    assert main(["gallery", "verify", str(people)]) == 0
    assert "no file is damaged" in capsys.readouterr().out
    (path,) = (people / "Ada").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["gallery", "verify", str(people)]) == 3
    assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enroll", "a/b", "{data}/001", "--gallery", "{people}"], "'a/b' cannot be the name"),
        (["enroll", "x", "{data}", "--gallery", "{people}"], "sequences of 6 ids"),
        (["enroll", "x", "{data}", "--gallery", "{people}", "--sequences", "9*"], "no walk that matches '9*'"),
        (["enroll", "x", "{data}/001", "--gallery", "{people}", "--weights", "nonsense"], "nonsense"),
        (["enroll", "x", "{data}/001", "--gallery", "{data}"], "not a gallery"),
        (["identify", "{data}/001", "--gallery", "{data}/nothing"], "no such gallery"),
        (["identify", "{data}/001", "--gallery", "{people}", "--fpir", "0.001"], "1000 are needed"),
        (["identify", "{data}/001", "--gallery", "{people}", "--json", "{data}"], "cannot be written"),
        (["calibrate", "{data}", "--gallery", "{people}", "--ids", "001"], "needs two people"),
        (["calibrate", "{data}/nothing", "--gallery", "{people}"], "no such folder"),
        (["calibrate", "{data}", "--gallery", "{people}", "--fpir", "2"], "between 0 and 1"),
        (["gallery", "forget", "{people}", "Nobody"], "nobody is enrolled as 'Nobody'"),
        (["gallery", "list", "{data}/nothing"], "no such gallery"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    people: Path, run: Experiment, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = sorted(people.parent.rglob("*"))
    assert main([argument.format(data=run.root, people=people) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dygait: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert sorted(people.parent.rglob("*")) == before
