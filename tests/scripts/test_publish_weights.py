"""Publishing the weights of a run: the file, its record and its model card."""

import json
from pathlib import Path

import pytest
import yaml

import dygait
from dygait.evaluation import evaluate_detailed, to_json
from dygait.runs import published
from dygait.runs.checkpoint_files import save_checkpoint
from helpers.experiments import Experiment
from helpers.scripts import load_script

script = load_script("publish_weights")
ADDRESS = "syngait://quick?seed=3&train_ids=2&test_ids=0&frames=8"
CHECK = "syngait://quick?seed=4&train_ids=0&test_ids=2&frames=6"
SETTINGS = (
    f"data_cfg.dataset_root={ADDRESS}", "data_cfg.dataset_partition=null", "data_cfg.dataset_name=SynGait",
    "trainer_cfg.total_iter=2", "trainer_cfg.ema=0.9",
    "trainer_cfg.transform=[{type: BaseSilCuttingTransform}, {type: Resize, size: [32, 22]}]",
    "evaluator_cfg.transform=[{type: BaseSilCuttingTransform}, {type: Resize, size: [32, 22]}]",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(shared: Experiment) -> Path:
    assert shared.run("train", *SETTINGS) == 0
    return shared.output / "SynGait" / "DyGait" / "tiny"


def write_result(folder: Path) -> Path:
    rng = dygait.evaluate.__globals__["np"].random.default_rng(0)
    keys = [(i, t, v) for i in ("1", "2", "3") for t in ("nm-01", "nm-05", "cl-01") for v in ("000", "090")]
    features = rng.normal(size=(len(keys), 4, 2))
    path = folder / "result.json"
    path.write_text(to_json(evaluate_detailed(features, *map(list, zip(*keys, strict=True)), "CASIA-B")))
    return path


def publish(*arguments: str) -> int:
    return int(script.main([*arguments, "--check", CHECK]))


def test_weights_and_card(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "limitations.md").write_text("- At night.\n")
    options = ["--name", "mine", "--frame-rate", "25", "--results", f"CASIA-B, ids 1-3={write_result(tmp_path)}"]
    limitations = ["--limitations", str(tmp_path / "limitations.md")]
    assert publish(str(run), "--output", str(tmp_path / "out"), "--commit", "abc1234", *options, *limitations) == 0
    folder = tmp_path / "out" / "mine"
    assert sorted(path.name for path in folder.iterdir()) == ["MODEL_CARD.md", "mine.safetensors"]
    record = published.read(folder / "mine.safetensors")
    assert "necks.fc_bin" not in record.pop("model")
    assert (record["seed"], record["iteration"], record["commit"]) == (0, 2, "abc1234")
    assert (record["data"], record["averaged"], record["input_size"]) == ([ADDRESS], True, [32, 22])
    assert record["dtype"] in ("float16", "float32")
    assert str(tmp_path) not in json.dumps(record)
    _, head, body = (folder / "MODEL_CARD.md").read_text().split("---\n", 2)
    (index,) = yaml.safe_load(head)["model-index"]
    assert [m["name"] for m in index["results"][0]["metrics"]] == ["rank-1 NM, percent", "rank-1 CL, percent"]
    for text in (ADDRESS, record["sha256"], "abc1234", "- At night.", "CASIA-B, ids 1-3 | NM | rank-1", "25 frames"):
        assert text in body
    monkeypatch.setattr(published, "FOLDER", tmp_path / "out")
    assert dygait.load_pretrained("mine").info.frame_rate == 25.0


def test_float32_weights_are_the_averaged_ones(run: Path, tmp_path: Path) -> None:
    options = ["--name", "mine", "--dtype", "float32", "--output", str(tmp_path), "--commit", "abc"]
    assert publish(str(run / "checkpoints" / "tiny-00002.pt"), *options) == 0
    assert (
        dygait.load_pretrained(tmp_path / "mine" / "mine.safetensors").info.identity
        == dygait.load_pretrained(run).info.identity
    )
    assert "No test is part of this card." in (tmp_path / "mine" / "MODEL_CARD.md").read_text()


def test_the_commit_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    record = run / "logs" / "run_train.json"
    before = record.read_text()
    try:
        record.write_text(json.dumps({**json.loads(before), "git": {"commit": "def5678", "changed": True}}))
        assert publish(str(run), "--name", "mine", "--dtype", "float16", "--output", str(tmp_path)) == 0
        commit = published.read(tmp_path / "mine" / "mine.safetensors")["commit"]
        assert commit == "def5678, with local changes"
    finally:
        record.write_text(before)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ["--name", "a/b"], "without slashes"),
        ({}, ["--name", "mine", "--results", "x.json"], "write TITLE=FILE"),
        ({}, ["--name", "mine", "--results", "A=none.json", "--dtype", "float16"], "none.json is not the result"),
        ({"data_cfg": {"dataset_root": "datasets/CASIA-B/data"}}, ["--name", "mine"], "are not SynGait's"),
        ({"trainer_cfg": {"init_from": "gone.pt"}}, ["--name", "mine"], "started from gone.pt"),
        (None, ["--name", "mine"], "name it with --commit"),
    ],
)
def test_errors(
    change: dict | None, options: list[str], message: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    state = published_state(run)
    for section, values in (change or {}).items():
        state["config"][section].update(values)
    save_checkpoint(tmp_path / "changed.pt", state)
    commit = [] if change is None else ["--commit", "abc"]
    assert publish("changed.pt", *options, *commit, "--output", "out") == 2
    assert message in capsys.readouterr().err


def published_state(run: Path) -> dict:
    from dygait.runs.checkpoint_files import read_checkpoint

    return read_checkpoint(run / "checkpoints" / "tiny-00002.pt")


def test_training_data_include_those_of_the_initial_weights(run: Path, tmp_path: Path) -> None:
    state = published_state(run)
    other = ADDRESS.replace("seed=3", "seed=5")
    state["config"]["data_cfg"]["dataset_root"] = other
    state["config"]["trainer_cfg"]["init_from"] = str(run / "checkpoints" / "tiny-00002.pt")
    assert script.training_data(state["config"]) == [ADDRESS, other]
    published.write(tmp_path / "start.safetensors", {}, {"data": ["syngait://quick?seed=9"]})
    state["config"]["trainer_cfg"]["init_from"] = str(tmp_path / "start.safetensors")
    assert script.training_data(state["config"]) == ["syngait://quick?seed=9", other]
