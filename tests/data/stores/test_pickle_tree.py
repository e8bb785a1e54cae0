"""Trees of pickles: their sequences, files, hashes and writer."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data.stores import PickleTree, open_store, read_pickle
from dygait.data.stores.pickles import PickleTreeWriter
from dygait.errors import UserError

WALK = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)


@pytest.fixture
def root(silhouette_tree: TreeFactory) -> Path:
    return silhouette_tree(
        ids=["001", "002"], types=["bg-01", "nm-01"], views=["000", "090"], size=(6, 4), frames=(2, 4)
    )


def test_every_sequence_in_order(root: Path) -> None:
    tree = open_store(root)
    assert tree.table.all_keys() == [
        (i, t, v) for i in ("001", "002") for t in ("bg-01", "nm-01") for v in ("000", "090")
    ]
    assert tree.root == root.resolve()
    assert tree.empty == 0
    lengths = tree.lengths(np.arange(len(tree.table)))
    for index, (person, kind, view) in enumerate(tree.table.all_keys()):
        assert tree.num_files(index) == 1
        assert tree.location(index) == str(root / person / kind / view / f"{view}.pkl")
        assert lengths[index] == tree.verify(index) == len(tree.read(index))
        assert np.array_equal(tree.read(index), pickle.loads(Path(tree.location(index)).read_bytes()))


def test_several_files_sorted_and_other_files_ignored(root: Path) -> None:
    folder = root / "001" / "nm-01" / "000"
    for name in ("pose.pkl", "000.txt", "000.pkl.part"):
        (folder / name).write_bytes(b"")
    (root / "README.md").write_text("not an id")
    (root / ".hidden" / "nm-01" / "000").mkdir(parents=True)
    tree = PickleTree(root)
    assert len(tree.table) == 8
    index = tree.table.all_keys().index(("001", "nm-01", "000"))
    assert tree.names[index] == ("000.pkl", "pose.pkl")
    assert tree.num_files(index) == 2
    assert tree.lengths(np.array([7, 0]), 1).tolist() == [len(tree.read(7)), len(tree.read(0))]
    assert tree.lengths(np.array([], np.int64)).tolist() == []


def test_empty_folders_are_counted(root: Path) -> None:
    (root / "001" / "nm-01" / "000" / "000.pkl").unlink()
    (root / "003" / "nm-01" / "180").mkdir(parents=True)
    tree = PickleTree(root)
    assert tree.empty == 2
    assert len(tree.table) == 7
    assert tree.table.ids.names == ["001", "002"]


def test_no_folder_and_no_sequence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset_root: no such folder: .*nowhere"):
        PickleTree(tmp_path / "nowhere")
    (tmp_path / "001" / "nm-01" / "000").mkdir(parents=True)
    with pytest.raises(UserError, match="no sequence"):
        PickleTree(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "001").rename(root / "007"),
        lambda root: (root / "001" / "nm-01").rename(root / "001" / "nm-09"),
        lambda root: (root / "001" / "nm-01" / "000" / "000.pkl").rename(root / "001" / "nm-01" / "000" / "a.pkl"),
        lambda root: (root / "001" / "nm-01" / "000" / "000.pkl").write_bytes(b"other"),
    ],
    ids=["id", "type", "file name", "size"],
)
def test_the_fingerprint_depends_on_names_and_sizes(root: Path, change: Callable[[Path], Any]) -> None:
    original = PickleTree(root)
    moved = root.rename(root.with_name("moved"))
    assert PickleTree(moved).fingerprint == original.fingerprint
    change(moved)
    assert PickleTree(moved).fingerprint != original.fingerprint


def test_the_state_also_depends_on_times(root: Path) -> None:
    before, path = PickleTree(root), root / "001" / "nm-01" / "000" / "000.pkl"
    os.utime(path, ns=(1, 1))
    assert PickleTree(root).fingerprint == before.fingerprint
    assert PickleTree(root).state() != before.state()


def test_a_sequence_is_written_where_opengait_reads_it(tmp_path: Path) -> None:
    writer = PickleTreeWriter(tmp_path)
    assert not writer.contains("001", "nm-01", "090")
    writer.write("001", "nm-01", "090", WALK)
    assert writer.contains("001", "nm-01", "090")
    path = tmp_path / "001/nm-01/090/090.pkl"
    np.testing.assert_array_equal(read_pickle(path), WALK)
    assert path.read_bytes()[:2] == b"\x80\x04"
    writer.write("001", "nm-01", "090", WALK[:, ::-1])
    np.testing.assert_array_equal(read_pickle(path), WALK[:, ::-1])
    writer.close()
    assert [p.name for p in path.parent.iterdir()] == ["090.pkl"]
