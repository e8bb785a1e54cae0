"""The walks of docs/architecture.md have at most 12 stops each, and a run calls every function that they name."""

import re
import sys
from pkgutil import resolve_name
from types import CodeType, FrameType
from typing import Any

import pytest

from helpers.experiments import REPOSITORY, make_experiment

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = [section for section in PAGE.split("\n## ") if section.startswith("A ")]
NAMES = sorted(set(re.findall(r"`(dygait\.[\w.]+)`", PAGE)))
ALTERNATIVES = {"dygait.data.stores.packed_reader.PackedStore.read", "dygait.cli.main"}
"""Functions that the page names as alternatives to those that the run below calls."""


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> set[CodeType]:
    experiment = make_experiment(tmp_path_factory.mktemp("walk"))
    codes: set[CodeType] = set()

    def record_call(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            codes.add(frame.f_code)

    sys.setprofile(record_call)
    try:
        experiment.train("trainer_cfg.total_iter=2", "data_cfg.num_workers=0")
        assert experiment.run("test", "data_cfg.num_workers=0") == 0
    finally:
        sys.setprofile(None)
    return codes


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.splitlines()[0])
def test_a_walk_has_at_most_twelve_stops(walk: str) -> None:
    stops = [int(number) for number in re.findall(r"^(\d+)\. \*\*", walk, re.MULTILINE)]
    assert stops == list(range(1, len(stops) + 1))
    assert 0 < len(stops) <= 12
    parts = re.split(r"^\d+\. ", walk, flags=re.MULTILINE)[1:]
    assert all(re.search(r"`dygait\.[\w.]+`", part) for part in parts), "every stop names a function"


def test_the_named_functions_are_called(called: set[CodeType]) -> None:
    functions = {name: code for name in NAMES if (code := code_of(resolve_name(name))) is not None}
    assert {name for name, code in functions.items() if code not in called} == ALTERNATIVES


def code_of(target: Any) -> CodeType | None:
    """Return the code of a function, also of a decorated one; None for a class."""
    while hasattr(target, "__wrapped__"):
        target = target.__wrapped__
    return getattr(target, "__code__", None)
