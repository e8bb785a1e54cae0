"""Training, extraction and evaluation on the GPU, compared with the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dygait.evaluation import evaluate
from helpers.experiments import REPOSITORY, Experiment, environment, features_of, make_experiment


@pytest.fixture
def trained(tmp_path: Path, device: torch.device) -> Experiment:
    experiment = make_experiment(tmp_path)
    experiment.train("trainer_cfg.total_iter=2", "trainer_cfg.with_test=true", "trainer_cfg.enable_float16=auto")
    return experiment


def test_training_and_testing_use_it(
    trained: Experiment, device: torch.device, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training and testing use the GPU; the checkpoint holds tensors of the CPU."""
    record = json.loads((trained.folder / "logs" / "run_train.json").read_text())
    assert record["device"] == (torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu")
    assert trained.run("test") == 0
    assert {"NM", "BG", "CL"} <= set(capsys.readouterr().out.split())
    assert all(t.device.type == "cpu" for t in trained.checkpoint(2)["model"].values())
    assert trained.run("train", "trainer_cfg.total_iter=3", options=("--resume",)) == 0


def test_features_equal_those_of_the_cpu(trained: Experiment, device: torch.device) -> None:
    """In float32 to 1e-4 of the largest feature, in half precision to 5e-2."""
    expected = features_of(trained)
    largest = float(np.abs(expected.features).max())
    for half, allowed in ((False, 1e-4), (True, 5e-2)):
        actual = features_of(trained, f"evaluator_cfg.enable_float16={str(half).lower()}", device=device)
        assert np.abs(actual.features - expected.features).max() < allowed * largest
        assert actual.gei is not None
        np.testing.assert_allclose(actual.gei, expected.gei, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("metric", ["euc", "cos"])
def test_results_equal_those_of_the_cpu(device: torch.device, metric: str) -> None:
    """Distances are computed on the device of the features."""
    rng = np.random.default_rng(0)
    people, types, views = ("005", "006", "007", "008"), ("nm-01", "nm-05", "bg-01", "cl-01"), ("000", "090", "180")
    keys = [(person, kind, view) for person in people for kind in types for view in views]
    features = torch.from_numpy(rng.standard_normal((len(keys), 8, 4)).astype(np.float32))
    names = [list(column) for column in zip(*keys, strict=True)]
    actual, expected = (evaluate(f, *names, protocol="CASIA-B", metric=metric) for f in (features.to(device), features))
    assert actual == expected


@pytest.mark.cuda
def test_the_benchmark_of_training_runs(tmp_path: Path) -> None:
    """On the CPU of this machine; the script fails if its two forms differ."""
    file = tmp_path / "ratios.json"
    script = [sys.executable, str(REPOSITORY / "scripts" / "benchmark_training.py")]
    subprocess.run([*script, "--quick", "--repeats", "1", "--json", str(file)], env=environment(), check=True)
    assert all(ratio > 0 for ratio in json.loads(file.read_text())["ratios"].values())
