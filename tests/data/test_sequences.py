"""The table of sequences: names and codes agree, for any selection."""

import numpy as np

from dygait.data.sequences import SequenceTable

KEYS = [("001", "nm-01", "000"), ("001", "nm-01", "090"), ("003", "bg-01", "000"), ("002", "nm-02", "018")]


def test_keys_and_selections() -> None:
    table = SequenceTable.from_keys(KEYS)
    assert table.all_keys() == [table.key(index) for index in range(len(table))] == KEYS
    assert table.ids.names == ["001", "002", "003"]
    assert table.indices({"001", "002", "999"}).tolist() == [0, 1, 3]
    assert table.indices([]).tolist() == []
    assert table.views.take(np.array([3, 0])) == ["018", "000"]
    assert table.types.isin(["nm-01"]).tolist() == [True, True, False, False]


def test_no_sequences() -> None:
    table = SequenceTable.from_keys([])
    assert len(table) == 0
    assert table.all_keys() == []
    assert table.indices({"001"}).tolist() == []
