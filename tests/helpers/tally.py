"""Counting the faults that tests try, and those that runs survive as promised; pytest prints the counts at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from helpers.experiments import Experiment


class Tally:
    """Counts faults: how many of each kind were tried, and how many a run survived as promised."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}

    def __call__(self, kind: str) -> Tally:
        """Announce a fault; the `with` block checks what becomes of it."""
        self._kind = self.counts.setdefault(kind, [0, 0])
        self._kind[0] += 1
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._kind[1] += 1
        elif issubclass(kind, pytest.skip.Exception):
            self._kind[0] -= 1


def summary(tallies: Sequence[Mapping[str, list[int]]]) -> list[str]:
    """Return, line by line, how many faults of each kind were tried and survived."""
    total: dict[str, list[int]] = {}
    for tally in tallies:
        for kind, (tried, survived) in tally.items():
            one = total.setdefault(kind, [0, 0])
            one[0] += tried
            one[1] += survived
    lines = [f"{survived:5d} of {tried:<5d} {kind}" for kind, (tried, survived) in sorted(total.items()) if tried]
    tried, survived = (sum(one[i] for one in total.values()) for i in (0, 1))
    return [*lines, f"faults tried: {tried}, survived: {survived}"]


@pytest.fixture
def fault(record_property: Callable[[str, object], None]) -> Iterator[Tally]:
    """Counts faults: `with fault("a kind"): ...`."""
    tally = Tally()
    yield tally
    record_property("faults", tally.counts)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment, and what becomes of it when nothing happens."""
    # Only here: this module is read before every test of the project.
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts, where there are any."""
    # What a fixture writes down when it is torn down arrives with that report alone.
    reports = [report for key in ("", "error") for report in terminalreporter.stats.get(key, [])]
    found = [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == "faults"]
    if any(found):
        terminalreporter.section("faults")
        for line in summary(found):
            terminalreporter.write_line(line)
