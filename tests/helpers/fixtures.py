"""A plugin with fixtures of runs; those of scope `module` are made once for each module that uses them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # this module is imported before every test of the project
    from helpers.experiments import Experiment


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A tree and a configuration that the tests of a module share; see `experiment` for a separate output folder."""
    from helpers.experiments import make_experiment

    return make_experiment(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def experiment(shared: Experiment, tmp_path: Path) -> Experiment:
    return shared.at(tmp_path / "output")


@pytest.fixture(scope="module")
def trained(shared: Experiment) -> Experiment:
    """A finished run of two iterations."""
    shared.train("trainer_cfg.total_iter=2")
    return shared


@pytest.fixture(scope="module")
def tested(trained: Experiment) -> Experiment:
    assert trained.run("test") == 0
    return trained


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A finished run without a fault, to compare others with."""
    from helpers.experiments import make_experiment
    from helpers.faulting import ITERATIONS, SETTINGS, launch

    experiment = make_experiment(tmp_path_factory.mktemp("uninterrupted"))
    run = launch(experiment, *SETTINGS)
    assert run.wait() == 0, run.output
    assert len(experiment.scalars()) == ITERATIONS
    return experiment


@pytest.fixture
def interrupted(uninterrupted: Experiment, tmp_path: Path) -> Experiment:
    """The same experiment with another output folder, for a run with a fault."""
    return uninterrupted.at(tmp_path / "output")
