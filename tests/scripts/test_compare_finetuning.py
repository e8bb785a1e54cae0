"""The comparison of fine-tuning with training from scratch: cells, partitions, batches, table and plot."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from conftest import make_tree
from dygait import load_pretrained, machine
from dygait.config import load_config
from helpers.scripts import load_script

TYPES = ("nm-01", "nm-05", "bg-01", "cl-01")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    return load_script("compare_finetuning")


def test_fine_tuning_and_training_from_scratch(script: Any, tmp_path: Path) -> None:
    data = make_tree(tmp_path / "data", ("001", "002", "003", "075", "076"), TYPES, frames=(18, 20))
    options = ["--quick", "--data", str(data), "--output", str(tmp_path), "--threads", str(torch.get_num_threads())]
    assert script.main(options) == 0
    names = ["pretrained_0_0", "pretrained_2_0", "scratch_2_0", "whitened_2_0", "both_2_0"]
    assert {path.stem for path in (tmp_path / "cells").iterdir()} == {*names}
    configs = [load_config(tmp_path / "configs" / f"{name}.yaml") for name in names]
    assert [bool(config.trainer_cfg.init_from) for config in configs] == [False, True, False, False, False]
    for config, name in zip(configs[3:], names[3:], strict=True):
        assert config.evaluator_cfg.restore_hint == str(tmp_path / "partitions" / f"{name}.safetensors")
    first, *others = (json.loads((tmp_path / "partitions" / f"{name}.json").read_text()) for name in names)
    assert (first["TRAIN_SET"], first["TEST_SET"]) == ([], ["075", "076"])
    assert all(other["TRAIN_SET"] == others[0]["TRAIN_SET"] for other in others)
    pretrained = load_pretrained("syngait/small").network.state_dict()["fcs.fc_bin"]
    whitened, both = (
        load_pretrained(str(config.evaluator_cfg.restore_hint)).network.state_dict() for config in configs[3:]
    )
    assert torch.equal(
        whitened["backbone.conv0.weight"],
        load_pretrained("syngait/small").network.state_dict()["backbone.conv0.weight"],
    )
    assert not torch.equal(whitened["backbone.conv0.weight"], both["backbone.conv0.weight"]), "fine-tuned before"
    trained = [
        load_pretrained(tmp_path / "runs" / "CASIA-B" / "DyGait" / name).network.state_dict()["fcs.fc_bin"]
        for name in names[1:3]
    ]
    assert 0 < (trained[0] - pretrained).abs().max() < 0.01 < (trained[1] - pretrained).abs().max()
    table = (tmp_path / "finetuning.md").read_text()
    assert table.count("| pretrained ") == 2
    assert table.count("| scratch ") == table.count("| whitened ") == table.count("| both ") == 1
    rows = json.loads((tmp_path / "finetuning.json").read_text())["rows"]
    assert all(0 <= value <= 100 for row in rows for group in ("NM", "BG", "CL") for value in row[group])
    ElementTree.parse(tmp_path / "finetuning.svg")


def test_both_needs_the_run_that_is_whitened(script: Any, tmp_path: Path) -> None:
    data = make_tree(tmp_path / "data", ("001", "002", "003", "075", "076"), TYPES, frames=(18, 20))
    options = ["--quick", "--data", str(data), "--output", str(tmp_path), "--cells", "both/2/0"]
    with pytest.raises(SystemExit, match="run the cell pretrained/2/0 first"):
        script.main(options)


def figures_of(rank: float) -> dict[str, Any]:
    return {"NM": rank, "BG": 30.0, "CL": 20.0, "intervals": {"NM": [1, 9], "BG": [0, 35], "CL": [0, 22]}}


def test_means_and_intervals(script: Any) -> None:
    cells = {("pretrained", 0, 0): 5.0, ("scratch", 5, 0): 60.0, ("scratch", 5, 1): 64.0, ("scratch", 5, 2): 62.0}
    rows = script.summarise({script.Cell(*names): figures_of(rank) for names, rank in cells.items()})
    assert [[row["start"], row["ids"], row["seeds"]] for row in rows] == [
        ["pretrained", 0, [0]], ["scratch", 5, [0, 1, 2]],
    ]  # fmt: skip
    assert rows[0]["NM"] == [5, 1, 9]
    # The standard deviation of 60, 64, 62 is 2, t(0.975, 2) = 4.3027.
    assert rows[1]["NM"] == pytest.approx([62, 62 - 4.3027 * 2 / 3**0.5, 62 + 4.3027 * 2 / 3**0.5], abs=1e-3)
    assert "62.0 (57.0 to 67.0)" in script.markdown(rows)
    assert "scratch, 5 ids: 62.0 (57.0 to 67.0)" in script.picture(rows)


def test_training_ids(script: Any) -> None:
    on_disk = [f"{n:03d}" for n in range(1, 125)]
    sets = [script.partition(script.Cell("scratch", ids, 1), on_disk, "075-124")["TRAIN_SET"] for ids in (5, 10, 74)]
    assert set(sets[0]) < set(sets[1]) < set(sets[2]) == set(on_disk[:74])
    assert sets[0] != script.partition(script.Cell("scratch", 5, 2), on_disk, "075-124")["TRAIN_SET"]
    partition = script.partition(script.Cell("scratch", 49, 0), on_disk, "050-074")
    assert partition == {"TRAIN_SET": on_disk[:49], "TEST_SET": on_disk[49:74]}
    with pytest.raises(script.UserError, match="49 others of 001-074"):
        script.partition(script.Cell("scratch", 74, 0), on_disk, "050-074")


@pytest.mark.parametrize(("ids", "batch"), [(0, [8, 4]), (5, [5, 6]), (40, [8, 4])])
def test_batches_have_at_most_the_training_ids(script: Any, ids: int, batch: list[int]) -> None:
    weights = load_pretrained().info
    settings = {**script.FULL, "lr": [0.001, 0.002]}
    content = script.configuration(script.Cell("pretrained", ids, 0), settings, weights, Path("data"))
    sampler = content["trainer_cfg"]["sampler"]
    assert (sampler["batch_size"], sampler["frames_num_fixed"]) == (batch, 18)
    assert content["optimizer_cfg"]["lr"] == content["scheduler_cfg"]["max_lr"] == 0.001
    assert "class_num" not in str(content["model_cfg"])
