"""Mistakes of the user give one line of error, once, and exit code 2, however the run was started."""

import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.experiments import REPOSITORY, Experiment, command, free_port, make_experiment


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    experiment = make_experiment(tmp_path_factory.mktemp("errors"))
    partition = {"TRAIN_SET": ["901", "902"], "TEST_SET": ["903"]}
    (experiment.config.parent / "unknown_ids.json").write_text(json.dumps(partition))
    return experiment


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data_cfg.dataset_partition=no/such.json", "data_cfg.dataset_partition: no such file: no/such.json"),
        ("data_cfg.dataset_partition={folder}/unknown_ids.json", "names no training id that is on disk"),
        ("trainer_cfg.sampler.batch_size=[5,2]", "P = 5 subjects per batch, but only 4 train"),
        ("trainer_cfg.restore_hint=7", "no such checkpoint"),
        ("model_cfg.SeparateBNNecks.class_num=3", "class_num is 3, but 4 ids train"),
        ("trainer_cfg.transform.type=BaseSilCuttingTransform", "frames are 22 wide"),
        ("trainer_cfg", "write section.key=value"),
    ],
)
def test_one_line_and_exit_code_2(
    experiment: Experiment, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert experiment.run("train", override.replace("{folder}", str(experiment.config.parent))) == 2
    error = capsys.readouterr().err
    assert error.startswith("dygait: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("key", ["evaluator_cfg.eval_func", "trainer_cfg.total_iter", "data_cfg.num_workers"])
@pytest.mark.parametrize("place", ["--set", "file"])
def test_a_key_is_named_once(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, place: str
) -> None:
    section, name = key.split(".")
    overrides = [f"{key}=nonsense"]
    if place == "file":
        (tmp_path / "mine.yaml").write_text(f"base: {experiment.config}\n{section}: {{{name}: nonsense}}\n")
        experiment, overrides = dataclasses.replace(experiment, config=tmp_path / "mine.yaml"), []
    assert experiment.run("test", *overrides) == 2
    assert capsys.readouterr().err.count(key) == 1


def test_a_problem_of_several_sections_has_no_key(experiment: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    transform = "[{type: Resize, size: [32, 22]}, {type: NoOperation}, {type: NoOperation}]"
    overrides = ["data_cfg.data_in_use=[true,true]", f"trainer_cfg.transform={transform}"]
    assert experiment.run("train", *overrides) == 2
    error = capsys.readouterr().err
    assert "trainer_cfg.transform: data_cfg.data_in_use reads 2 files" in error
    assert ": : " not in error


def test_a_closed_pipe_is_no_error(experiment: Experiment, capfd: pytest.CaptureFixture[str]) -> None:
    code = f"from dygait.cli import main; import sys; sys.exit(main(['info', {str(experiment.root)!r}]))"
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY / "lib", stdout=subprocess.PIPE)
    writer.stdout.close()
    assert writer.wait() == 141
    assert capfd.readouterr().err == ""


def test_raw_frames_are_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = make_experiment(tmp_path)
    for path in experiment.root.rglob("*.pkl"):
        frames = np.zeros((9, 240, 320), np.uint8)
        frames[:, 60:200, 100:150] = 255
        path.write_bytes(pickle.dumps(frames))
    for transform, code in (("BaseSilCuttingTransform", 2), ("Resize, size: [32, 22]", 0)):
        assert experiment.run("train", f"trainer_cfg.transform={{type: {transform}}}") == code
        captured = capsys.readouterr()
        assert "240x320, were never normalised" in captured.err + captured.out
        assert "cutting" not in captured.err


def test_output_that_cannot_be_made(experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert experiment.at(tmp_path / "file").run("train") == 2
    assert "choose another with --output" in capsys.readouterr().err


@pytest.mark.parametrize("launcher", [True, False])
def test_other_ranks_are_silent_and_wait_for_a_launcher_only(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], launcher: bool
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setenv("RANK", "1")
    if launcher:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert experiment.run("train", "trainer_cfg.no_such_key=1") == 2
    assert len(waits) == launcher
    assert capsys.readouterr().err == ""


def test_one_process(experiment: Experiment) -> None:
    result = command("lib/main.py", *experiment.arguments("train", "data_cfg.dataset_root=no/such/folder"))
    assert result.returncode == 2
    assert result.stderr.startswith("dygait: error: data_cfg.dataset_root: no such folder")
    assert result.stderr.count("\n") == 1


BATCH = "trainer_cfg.sampler.batch_size=[3,1]"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (BATCH, "3 x 1 = 3 sequences are not divisible by 2 processes"),
        ("data_cfg.dataset_root=no/such/folder", "no such folder: no/such/folder"),
    ],
    ids=["batch", "root"],
)
def test_two_processes(experiment: Experiment, override: str, message: str) -> None:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", "lib/main.py"]
    result = command(*launcher, *experiment.arguments("train", override))
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if "dygait: error:" in line]
    assert message in line
    # The launcher reports its own failure at length, and of our process the exit code.
    assert "exitcode  : 2" in result.stderr
    assert "dygait/cli.py" not in result.stderr
