"""The tree of a dataset: what it finds, and when it looks again."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data import PickleTree
from dygait.data.stores import load_tree, pickles
from dygait.errors import UserError

CACHE = ".dygait_index.json"


@pytest.fixture
def root(silhouette_tree: TreeFactory) -> Path:
    return silhouette_tree(
        ids=["001", "002"], types=["bg-01", "nm-01"], views=["000", "090"], size=(6, 4), frames=(2, 4)
    )


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are walked through, one entry for every time."""
    walked: list[Path] = []
    real = pickles._scan

    def scan(folder: Path) -> dict[str, Any]:
        walked.append(folder)
        return real(folder)

    monkeypatch.setattr(pickles, "_scan", scan)
    return walked


def said_by(tree: PickleTree) -> tuple[object, ...]:
    """The attributes of a tree that can be compared."""
    return tree.root, tree.table.all_keys(), tree.names, tree.file_sizes, tree.empty, tree.fingerprint


class TestFinding:
    def test_every_sequence_in_order(self, root: Path) -> None:
        tree = load_tree(root)
        expected = [(i, t, v) for i in ("001", "002") for t in ("bg-01", "nm-01") for v in ("000", "090")]
        assert tree.table.all_keys() == expected
        assert tree.table.ids.names == ["001", "002"]
        assert tree.root == root.resolve()
        assert tree.empty == 0
        lengths = tree.lengths(np.arange(len(tree.table)))
        for index, (person, kind, view) in enumerate(tree.table.all_keys()):
            assert tree.num_files(index) == 1
            assert tree.location(index) == str(root / person / kind / view / f"{view}.pkl")
            assert lengths[index] == len(tree.read(index))
            assert np.array_equal(tree.read(index), pickle.loads(Path(tree.location(index)).read_bytes()))

    def test_sequences_of_some_ids(self, root: Path) -> None:
        tree = load_tree(root)
        assert tree.table.indices({"002", "999"}).tolist() == [4, 5, 6, 7]
        assert tree.table.indices(set()).tolist() == []

    def test_several_files_sorted_and_other_files_left_alone(self, root: Path) -> None:
        folder = root / "001" / "nm-01" / "000"
        for name in ("pose.pkl", "000.txt", "000.pkl.part"):
            (folder / name).write_bytes(b"")
        (root / "README.md").write_text("not an id")
        (root / ".hidden" / "nm-01" / "000").mkdir(parents=True)
        tree = load_tree(root)
        assert len(tree.table) == 8
        index = tree.table.all_keys().index(("001", "nm-01", "000"))
        assert tree.names[index] == ("000.pkl", "pose.pkl")
        assert tree.num_files(index) == 2
        assert tree.lengths(np.array([7, 0]), 1).tolist() == [len(tree.read(7)), len(tree.read(0))]
        assert tree.lengths(np.array([], np.int64)).tolist() == []

    def test_empty_folders_are_counted(self, root: Path) -> None:
        (root / "001" / "nm-01" / "000" / "000.pkl").unlink()
        (root / "003" / "nm-01" / "180").mkdir(parents=True)
        tree = load_tree(root)
        assert tree.empty == 2
        assert len(tree.table) == 7
        assert tree.table.ids.names == ["001", "002"]

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"dataset_root: no such folder: .*nowhere"):
            load_tree(tmp_path / "nowhere")
        (tmp_path / "001" / "nm-01" / "000").mkdir(parents=True)
        with pytest.raises(UserError, match="no sequence"):
            load_tree(tmp_path)

    def test_a_relative_root(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root.parent)
        assert said_by(load_tree("data")) == said_by(load_tree(root))


class TestCache:
    def test_the_second_time_nothing_is_walked_through(self, root: Path, scans: list[Path]) -> None:
        first = load_tree(root)
        assert (root / CACHE).is_file()
        assert said_by(load_tree(root)) == said_by(load_tree(root)) == said_by(first)
        assert scans == [root.resolve()]
        assert [p.name for p in root.iterdir() if "json" in p.name] == [CACHE], "no temporary file is left"

    @staticmethod
    def add_file(root: Path) -> None:
        (root / "001" / "nm-01" / "000" / "extra.pkl").write_bytes(b"x")

    @staticmethod
    def add_sequence(root: Path) -> None:
        shutil.copytree(root / "001" / "nm-01" / "000", root / "001" / "nm-01" / "018")

    @staticmethod
    def add_type(root: Path) -> None:
        shutil.copytree(root / "001" / "nm-01", root / "001" / "nm-02")

    @staticmethod
    def add_id(root: Path) -> None:
        shutil.copytree(root / "001", root / "003")

    @staticmethod
    def remove_file(root: Path) -> None:
        (root / "001" / "nm-01" / "000" / "000.pkl").unlink()

    @staticmethod
    def remove_sequence(root: Path) -> None:
        shutil.rmtree(root / "001" / "nm-01" / "000")

    @staticmethod
    def remove_id(root: Path) -> None:
        shutil.rmtree(root / "002")

    @staticmethod
    def rename_id(root: Path) -> None:
        (root / "002").rename(root / "005")

    @staticmethod
    def rewrite_longer(root: Path) -> None:
        (root / "001" / "nm-01" / "000" / "000.pkl").write_bytes(pickle.dumps(np.zeros((9, 6, 4), np.uint8)))

    @pytest.mark.parametrize(
        "change",
        [
            "add_file",
            "add_sequence",
            "add_type",
            "add_id",
            "remove_file",
            "remove_sequence",
            "remove_id",
            "rename_id",
            "rewrite_longer",
        ],
    )
    def test_it_is_rebuilt_when_the_tree_changes(self, root: Path, scans: list[Path], change: str) -> None:
        before = load_tree(root)
        getattr(self, change)(root)
        after = load_tree(root)
        assert len(scans) == 2
        (root / CACHE).unlink()
        fresh = load_tree(root)
        assert said_by(after) == said_by(fresh)
        assert after.fingerprint != before.fingerprint
        assert said_by(load_tree(root)) == said_by(fresh)
        assert len(scans) == 3, "the cache file was written anew"

    def test_a_file_rewritten_at_the_same_size_is_noticed(self, root: Path, scans: list[Path]) -> None:
        before = load_tree(root)
        path = root / "001" / "nm-01" / "000" / "000.pkl"
        stamp = path.stat().st_mtime_ns + 10_000_000
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(stamp, stamp))
        assert said_by(load_tree(root)) == said_by(before)
        assert len(scans) == 2

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", "{}", '{"format": 1}', '{"format": 1, "root": "/", "stamps": [], "rows": 3}', "null"]
    )
    def test_a_damaged_cache_file_is_replaced(self, root: Path, scans: list[Path], content: str) -> None:
        first = load_tree(root)
        (root / CACHE).write_text(content)
        assert said_by(load_tree(root)) == said_by(first)
        assert said_by(load_tree(root)) == said_by(first)
        assert len(scans) == 2

    def test_damaged_rows_are_replaced(self, root: Path, scans: list[Path]) -> None:
        first = load_tree(root)
        cached = json.loads((root / CACHE).read_text())
        cached["rows"][0] = ["001", "bg-01"]
        (root / CACHE).write_text(json.dumps(cached))
        assert said_by(load_tree(root)) == said_by(first)
        assert len(scans) == 2

    def test_the_cache_of_another_folder_is_not_believed(self, root: Path, tmp_path: Path, scans: list[Path]) -> None:
        load_tree(root)
        copy = tmp_path / "copy"
        shutil.copytree(root, copy, copy_function=shutil.copy2)
        assert load_tree(copy).location(0).startswith(str(copy))
        assert len(scans) == 2

    def test_where_the_folder_takes_no_file_the_users_cache_does(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scans: list[Path]
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        (root / CACHE).mkdir()  # in the way of the file: unlike permissions, it stops the superuser too
        first = load_tree(root)
        assert said_by(load_tree(root)) == said_by(first)
        assert len(scans) == 1
        assert len(list((tmp_path / "cache" / "dygait").iterdir())) == 1
        assert [p.name for p in root.iterdir()].count(CACHE) == 1
        assert not [p for p in root.iterdir() if p.name.startswith(f"{CACHE}.")], "no temporary file is left"

    def test_where_nothing_can_be_written_the_index_is_still_there(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scans: list[Path]
    ) -> None:
        (tmp_path / "a file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
        (root / CACHE).mkdir()
        assert said_by(load_tree(root)) == said_by(load_tree(root))
        assert len(scans) == 2


class TestFingerprint:
    def test_the_same_tree_elsewhere_has_the_same(self, silhouette_tree: TreeFactory, tmp_path: Path) -> None:
        options: dict[str, Any] = {"ids": ["001"], "size": (6, 4)}
        one, other = silhouette_tree(tmp_path / "one", **options), silhouette_tree(tmp_path / "other", **options)
        assert load_tree(one).fingerprint == load_tree(other).fingerprint

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
    def test_it_changes_with_names_and_sizes(self, root: Path, change: Callable[[Path], Any]) -> None:
        before = load_tree(root).fingerprint
        change(root)
        assert load_tree(root).fingerprint != before
