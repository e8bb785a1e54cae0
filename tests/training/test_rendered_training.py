"""Training on SynGait rendered on reading equals training on its files, for any workers and processes."""

import shutil
from pathlib import Path

import pytest
import yaml

from dygait.synthetic.generate import generate
from dygait.synthetic.settings import parse_address
from helpers import ranks
from helpers.experiments import Experiment, make_experiment

ADDRESS = "syngait://?seed=4&train_ids=4&test_ids=2&frames=8-11"
ITERATIONS = 4


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("rendered")
    experiment = make_experiment(folder)
    settings = yaml.safe_load(experiment.config.read_text())
    settings["data_cfg"] |= {"dataset_root": ADDRESS, "dataset_partition": None, "dataset_name": "CASIA-B"}
    settings["model_cfg"]["input_size"] = [64, 44]
    settings["trainer_cfg"] |= {"save_iter": 1, "total_iter": ITERATIONS}
    for section in ("trainer_cfg", "evaluator_cfg"):
        settings[section]["transform"] = {"type": "BaseSilCuttingTransform"}
    experiment.config.write_text(yaml.safe_dump(settings))
    return experiment


@pytest.fixture
def experiment(shared: Experiment, tmp_path: Path) -> Experiment:
    return shared.at(tmp_path / "output")


@pytest.fixture(scope="module")
def trained(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    run = shared.at(tmp_path_factory.mktemp("trained"))
    run.train()
    return run


def test_equals_training_on_its_files(experiment: Experiment, trained: Experiment, tmp_path: Path) -> None:
    root = tmp_path / "data"
    generate(root, parse_address(ADDRESS), progress=False)
    files = (f"data_cfg.dataset_root={root}", f"data_cfg.dataset_partition={root / 'SynGait.json'}")
    assert experiment.train(*files) == trained.scalars()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_matter(experiment: Experiment, trained: Experiment, workers: int) -> None:
    assert experiment.train(f"data_cfg.num_workers={workers}") == trained.scalars()


@pytest.mark.parametrize("iteration", range(1, ITERATIONS))
def test_resuming_at_any_iteration(experiment: Experiment, trained: Experiment, iteration: int) -> None:
    shutil.copytree(trained.folder, experiment.folder)
    assert experiment.run("train", "data_cfg.num_workers=1", options=["--iter", str(iteration)]) == 0
    assert experiment.scalars() == trained.scalars()


def test_processes_do_not_matter(experiment: Experiment, tmp_path: Path) -> None:
    curves = []
    for world in (1, 2):
        run = experiment.at(tmp_path / str(world))
        group = ranks.start(run, world, "data_cfg.num_workers=1", "trainer_cfg.sync_BN=true", fault=ranks.in_float64)
        assert group.codes(within=120) == [0] * world, group.output()
        curves.append(run.scalars())
    for expected, actual in zip(*curves, strict=True):
        assert actual == pytest.approx(expected, rel=1e-9)


def test_it_is_tested(experiment: Experiment, trained: Experiment) -> None:
    shutil.copytree(trained.folder, experiment.folder)
    assert experiment.run("test") == 0
    assert list(experiment.checkpoints.glob("*-CASIA-B-euc.json"))


def test_a_misspelt_address_is_reported_with_the_other_problems(
    experiment: Experiment, capfd: pytest.CaptureFixture[str]
) -> None:
    assert experiment.run("train", "data_cfg.dataset_root=syngait://quick?sed=1", "trainer_cfg.total_itr=3") == 2
    error = capfd.readouterr().err
    assert "did you mean 'seed'" in error
    assert "total_iter" in error
