from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from dygait.data import PackedStore, read_pickle
from dygait.data.writing import PackedStoreWriter, PickleTreeWriter

FRAMES = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)


def test_a_sequence_is_where_the_field_looks_for_it(tmp_path: Path) -> None:
    writer = PickleTreeWriter(tmp_path)
    assert not writer.contains("001", "nm-01", "090")
    writer.write("001", "nm-01", "090", FRAMES)
    assert writer.contains("001", "nm-01", "090")
    path = tmp_path / "001/nm-01/090/090.pkl"
    np.testing.assert_array_equal(read_pickle(path), FRAMES)
    assert path.read_bytes()[:2] == b"\x80\x04"
    writer.write("001", "nm-01", "090", FRAMES[:, ::-1])
    np.testing.assert_array_equal(read_pickle(path), FRAMES[:, ::-1])
    writer.close()
    assert [p.name for p in path.parent.iterdir()] == ["090.pkl"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = PickleTreeWriter(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        writer.write("001", "nm-01", "090", FRAMES)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not writer.contains("001", "nm-01", "090")


def test_a_packed_store_beside_other_files(tmp_path: Path) -> None:
    (tmp_path / "prepare_report.txt").write_text("")
    writer = PackedStoreWriter(tmp_path)
    writer.write("001", "nm-01", "090", FRAMES)
    assert writer.contains("001", "nm-01", "090")
    writer.write("001", "nm-01", "090", FRAMES[:, ::-1])
    writer.close()
    store = PackedStore(tmp_path)
    assert store.table.all_keys() == [("001", "nm-01", "090")]
    np.testing.assert_array_equal(store.read(0), FRAMES[:, ::-1])
    again = PackedStoreWriter(tmp_path)
    assert again.contains("001", "nm-01", "090")
    again.close()


def test_what_was_written_some_time_ago_stays_without_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dygait.data.stores.packed_writer.COMMIT_SECONDS", -1.0)
    writer = PackedStoreWriter(tmp_path)
    writer.write("001", "nm-01", "090", FRAMES)
    np.testing.assert_array_equal(PackedStore(tmp_path).read(0), FRAMES)
    writer.close()
