"""The command `dygait cross`: results of every pair of run and dataset, and how the frames are prepared."""

import csv
import json
import pickle
from pathlib import Path

import pytest
import yaml

from conftest import make_tree
from dygait import cli
from dygait.evaluation.features import load_features
from helpers.experiments import Experiment


@pytest.fixture
def other_config(trained: Experiment, tmp_path: Path) -> Path:
    """Return a configuration of another dataset, with other ids and larger frames."""
    ids = ("a", "b", "c")
    root = make_tree(tmp_path / "other", ids=ids, types=("day1", "day2"), views=("x", "y"), size=(64, 44))
    (tmp_path / "other.json").write_text(json.dumps({"TEST_SET": ids}))
    settings = yaml.safe_load(trained.config.read_text())
    settings["data_cfg"].update(
        dataset_name="Yard", dataset_root=str(root), dataset_partition=str(tmp_path / "other.json")
    )
    settings["model_cfg"]["input_size"] = [64, 44]
    protocol = {"name": "Yard", "gallery": {"types": "day1"}, "groups": {"later": {"probes": {"types": "day2"}}}}
    settings["evaluator_cfg"].update(protocol={**protocol, "measures": ["rank-1", "mAP"]}, intervals=0)
    (tmp_path / "yard.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return tmp_path / "yard.yaml"


def test_all_pairs(trained: Experiment, other_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, output = tmp_path / "page" / "cross.html", tmp_path / "output"
    run = str(trained.folder)
    options = ["--page", str(page), "--output", str(output), "--frame-rate", "CASIA-B=25", "Yard=50"]
    assert cli.main(["cross", run, run, "--on", run, run, str(other_config), *options]) == 0
    assert f"wrote {page}" in capsys.readouterr().out
    with page.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["run"], r["trained on"], r["tested on"]) for r in rows} == {
        (name, "CASIA-B", dataset) for name in ("tiny", "tiny-2") for dataset in ("CASIA-B", "Yard")
    }
    percentages = {(r["tested on"], r["group"], r["measure"]): float(r["percent"]) for r in rows if r["run"] == "tiny"}
    assert trained.run("test", "evaluator_cfg.report=false") == 0
    within_dataset = json.loads((trained.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert {g: percentages["CASIA-B", g, "rank-1"] for g in within_dataset["percentages"]} == {
        group: values["rank-1"] for group, values in within_dataset["percentages"].items()
    }
    folder = output / "Yard" / "DyGait" / "tiny"
    across_datasets = json.loads((folder / "checkpoints" / "tiny-00002-Yard-euc.json").read_text())
    for measure in ("rank-1", "mAP"):
        assert percentages["Yard", "later", measure] == across_datasets["percentages"]["later"][measure]
    preparations = {r["tested on"]: r["frames"] for r in rows}
    assert preparations["CASIA-B"] == "frames of 32x22, input 32x22; 25 frames a second, trained on 25"
    assert preparations["Yard"] == (
        "frames of 64x44 resized to 32x22, input 32x22; one frame in 2 of 50 frames a second, trained on 25"
    )
    saved = load_features(folder / "features" / "tiny-00002")
    frames = [len(pickle.loads(path.read_bytes())) for path in sorted((tmp_path / "other").rglob("*.pkl"))]
    assert saved.lengths == [-(-count // 2) for count in frames]
    assert "tiny-2 & CASIA-B &" in page.with_suffix(".tex").read_text()
    text = page.read_text()
    for part in ("Trained here, tested there", "tiny-2", 'class="own"', "one frame in 2", "Yard: gallery type day1"):
        assert part in text


def test_two_datasets_with_the_same_name(trained: Experiment, other_config: Path, tmp_path: Path) -> None:
    """Each has its column and folder, and the dataset of the run (the second) is marked."""
    settings = yaml.safe_load(other_config.read_text())
    settings["data_cfg"]["dataset_name"] = "CASIA-B"
    other_config.write_text(yaml.safe_dump(settings, sort_keys=False))
    page, output, run = tmp_path / "cross.html", tmp_path / "output", str(trained.folder)
    assert cli.main(["cross", run, "--on", str(other_config), run, "--page", str(page), "--output", str(output)]) == 0
    with page.with_suffix(".csv").open(newline="") as file:
        groups = {(r["trained on"], r["tested on"], r["group"]) for r in csv.DictReader(file)}
    assert {("CASIA-B-2", "CASIA-B", "later"), ("CASIA-B-2", "CASIA-B-2", "NM")} <= groups
    assert f"{tmp_path / 'other'}; " in page.read_text()
    cells = [cell.partition(">")[0] for cell in page.read_text().split("<td")[1:] if "background" in cell[:40]]
    assert ['class="own"' in cell for cell in cells] == [False, True, True, True]
    folders = [output / "CASIA-B" / "DyGait" / name for name in ("tiny", "tiny-on-CASIA-B-2")]
    assert [load_features(folder / "features" / f"{folder.name}-00002").ids.count("a") for folder in folders] == [4, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--page", "x.txt"], "name a .html file"),
        (["{run}", "--frame-rate", "CASIA-B"], "give NAME=RATE"),
        (["nobody"], "there are no weights 'nobody'"),
        (["{run}", "--on", "{other}", "--set", "data_cfg.dataset_root=nowhere"], "no such folder"),
    ],
)
def test_errors(
    trained: Experiment, other_config: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cross", *(a.format(run=trained.folder, other=other_config) for a in arguments)]) == 2
    assert message in capsys.readouterr().err
