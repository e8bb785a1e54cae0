"""The table of sequences: names and numbers agree, for any selection."""

from __future__ import annotations

import numpy as np

from dygait.data import Column, SequenceTable

KEYS = [("001", "nm-01", "000"), ("001", "nm-01", "090"), ("003", "bg-01", "000"), ("002", "nm-02", "018")]


def test_keys_come_back_as_they_were() -> None:
    table = SequenceTable.from_keys(KEYS)
    assert len(table) == 4
    assert table.all_keys() == KEYS
    assert [table.key(index) for index in range(4)] == KEYS
    assert table.ids.names == ["001", "002", "003"]


def test_indices_of_ids() -> None:
    table = SequenceTable.from_keys(KEYS)
    assert table.indices({"001", "002", "999"}).tolist() == [0, 1, 3]
    assert table.indices([]).tolist() == []
    assert table.indices(("003",)).tolist() == [2]


def test_a_table_of_nothing() -> None:
    table = SequenceTable.from_keys([])
    assert len(table) == 0
    assert table.all_keys() == []
    assert table.indices({"001"}).tolist() == []


def test_a_column() -> None:
    column = Column.from_names(["b", "a", "b"])
    assert column[0] == "b"
    assert column.take(np.array([2, 1])) == ["b", "a"]
    assert column.isin(["b"]).tolist() == [True, False, True]
