"""Mistakes of the user's: one clear line, exit code 2, once, whatever started the run."""

import json
from pathlib import Path

import pytest

from helpers.experiments import Experiment, command, free_port, make_experiment


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = make_experiment(tmp_path_factory.mktemp("errors"))
    strangers = {"TRAIN_SET": ["901", "902"], "TEST_SET": ["903"]}
    (experiment.config.parent / "strangers.json").write_text(json.dumps(strangers))
    return experiment


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data_cfg.dataset_partition=no/such.json", "data_cfg.dataset_partition: no such file: no/such.json"),
        ("data_cfg.dataset_partition={folder}/strangers.json", "names no training id that is on disk"),
        ("trainer_cfg.sampler.batch_size=[5,2]", "P = 5 subjects per batch, but only 4 train"),
        ("trainer_cfg.restore_hint=7", "no such checkpoint"),
        ("model_cfg.SeparateBNNecks.class_num=3", "class_num is 3, but 4 ids train"),
        ("trainer_cfg.transform.type=BaseSilCuttingTransform", "frames are 22 wide"),
        ("trainer_cfg", "write section.key=value"),
    ],
)
def test_one_line_and_two(
    experiment: Experiment, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert experiment.run("train", override.replace("{folder}", str(experiment.config.parent))) == 2
    error = capsys.readouterr().err
    assert error.startswith("dygait: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_output_that_cannot_be_made(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert experiment.at(tmp_path / "file").run("train") == 2
    assert "choose another with --output" in capsys.readouterr().err


def test_alone(experiment: Experiment) -> None:
    done = command("lib/main.py", *experiment.arguments("train", "data_cfg.dataset_root=no/such/folder"))
    assert done.returncode == 2
    assert done.stderr.startswith("dygait: error: data_cfg.dataset_root: no such folder")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer_cfg.sampler.batch_size=[3,1]"], "3 x 1 = 3 sequences are not divisible by 2 processes"),
        (["data_cfg.dataset_root=no/such/folder"], "no such folder: no/such/folder"),
    ],
    ids=["batch", "root"],
)
def test_under_a_launcher(experiment: Experiment, overrides: list[str], message: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", "lib/main.py"]
    done = command(*launcher, *experiment.arguments("train", *overrides))
    assert done.returncode != 0
    assert done.stderr.count("dygait: error:") == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "dygait: error:" in line]
    assert message in line
    # The launcher tells of its own end at length; what it says of ours is the exit code.
    assert "exitcode  : 2" in done.stderr
    assert "dygait/cli.py" not in done.stderr
