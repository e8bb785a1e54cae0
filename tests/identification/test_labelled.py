"""The split of a labelled dataset into enrolled and searched sequences."""

from pathlib import Path

import numpy as np
import pytest

from conftest import make_tree
from dygait.data.sequences import SequenceTable
from dygait.data.stores import open_store
from dygait.errors import UserError
from dygait.identification.labelled import Choice, calibrate, embed_sequences
from helpers.galleries import MeanSilhouette

KEYS = [(i, t, v) for i in ("a", "b", "c") for t in ("bg-01", "nm-01", "nm-02") for v in ("000", "090")]
TABLE = SequenceTable.from_keys(KEYS)


def split(choice: Choice) -> tuple[list[str], list[str]]:
    enrolled, searched = choice.split(TABLE)
    return ["/".join(KEYS[n]) for n in enrolled], ["/".join(KEYS[n]) for n in searched]


def test_the_first_type_is_enrolled_and_the_rest_searched() -> None:
    enrolled, searched = split(Choice())
    assert enrolled == [f"{i}/bg-01/{v}" for i in "abc" for v in ("000", "090")]
    assert searched == [f"{i}/nm-0{n}/{v}" for i in "abc" for n in (1, 2) for v in ("000", "090")]


def test_patterns_and_the_maximum_of_searches() -> None:
    choice = Choice(ids="[ab]", enrolled_types="nm-*", enrolled_views="090", searches=1)
    enrolled, searched = split(choice)
    assert enrolled == [f"{i}/nm-0{n}/090" for i in "ab" for n in (1, 2)]
    assert searched == ["a/bg-01/000", "b/bg-01/000"]  # not nm-01/000: the same walk is enrolled
    _, searched = split(Choice(ids="[ab]", enrolled_types="nm-*", searched_views="09*"))
    assert searched == ["a/bg-01/090", "b/bg-01/090"]


@pytest.mark.parametrize("choice", [Choice(ids="a"), Choice(enrolled_types="x"), Choice(enrolled_types="*")])
def test_fewer_than_two_people(choice: Choice) -> None:
    with pytest.raises(UserError, match="a calibration needs two people"):
        choice.split(TABLE)


def test_short_sequences_are_skipped_and_the_rate_is_checked(tmp_path: Path) -> None:
    make_tree(tmp_path / "data", ["a", "b", "c"], ["nm-01", "nm-02"], ["000"], frames=(30, 40))
    make_tree(tmp_path / "data", ["d"], ["nm-01", "nm-02"], ["000"], frames=(5, 9))
    store = open_store(tmp_path / "data")
    calibration = calibrate(MeanSilhouette(), store, Choice(), 0.5, (30, 15), "euc")
    assert calibration.match.shape == (3,)
    assert calibration.other.shape == (3, 2)
    assert (np.diff(calibration.other) >= 0).all()
    with pytest.raises(UserError, match="10 are needed"):
        calibrate(MeanSilhouette(), store, Choice(), 0.1, (30, 15), "euc")
    sizes = [len(part) for part in embed_sequences(MeanSilhouette(), store, np.arange(8), (30, 15))]
    assert [size > 0 for size in sizes] == [True] * 6 + [False] * 2
