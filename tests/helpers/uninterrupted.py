"""Fixtures of tests/faults, as a plugin: a run that nothing disturbs, and a place for one that something does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.experiments import Experiment


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment, and what becomes of it when nothing happens."""
    # Only here: this module is imported before every test of the project.
    from helpers.experiments import make_experiment
    from helpers.faulting import ITERATIONS, SETTINGS, launch

    experiment = make_experiment(tmp_path_factory.mktemp("whole"))
    run = launch(experiment, *SETTINGS)
    assert run.wait() == 0, run.output
    assert len(experiment.scalars()) == ITERATIONS
    return experiment


@pytest.fixture
def stopped(uninterrupted: Experiment, tmp_path: Path) -> Experiment:
    """The same experiment with an output folder of its own, for a run that meets a fault."""
    return uninterrupted.at(tmp_path / "output")
