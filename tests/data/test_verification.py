"""Sequences that cannot be used are found before a run begins."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data import Store, open_store, packing
from dygait.data.stores.concat import ConcatStore
from dygait.data.verification import find_unreadable

FIRST = (0,)


class Counted:
    """A progress bar that knows whether it was shown."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, wrapped: Iterable[str | None], total: int) -> Iterable[str | None]:
        self.total += total
        return wrapped


def found(store: Store, files: tuple[int, ...] = FIRST) -> tuple[dict[int, str], int]:
    bar = Counted()
    return find_unreadable(store, np.arange(len(store.table)), files, bar), bar.total


def test_a_damaged_pickle_is_named(silhouette_tree: TreeFactory) -> None:
    root = silhouette_tree()
    store = open_store(root)
    bad = Path(store.location(5))
    bad.write_bytes(bad.read_bytes()[:100])
    problems, read = found(open_store(root))
    assert list(problems) == [5]
    assert problems[5].startswith(f"{bad} cannot be loaded")
    assert read == 16
    assert found(open_store(root))[1] == 16, "damage is looked at again"


def test_a_damaged_frame_of_a_store_is_named(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    target = tmp_path / "store"
    packing.pack(silhouette_tree(), target)
    assert found(open_store(target)) == ({}, 16)
    assert found(open_store(target)) == ({}, 0)
    shard = target / "frames-00000.bin"
    content = bytearray(shard.read_bytes())
    content[70] ^= 255
    shard.write_bytes(content)
    os.utime(shard, ns=(1, 1))  # whatever the clock's steps are, it is another time
    problems, _ = found(open_store(target))
    assert list(problems) == [0]
    assert "001/nm-01/000/000.pkl is damaged" in problems[0]


def test_what_was_well_is_read_once(silhouette_tree: TreeFactory) -> None:
    root = silhouette_tree()
    assert found(open_store(root)) == ({}, 16)
    assert found(open_store(root)) == ({}, 0)
    some = find_unreadable(open_store(root), np.arange(3), FIRST, bar := Counted())
    assert (some, bar.total) == ({}, 3), "other sequences, another mark"
    path = Path(open_store(root).location(2))
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    assert found(open_store(root)) == ({}, 16), "a file written anew is read anew"


def test_several_datasets(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    roots = [silhouette_tree(tmp_path / name) for name in "ab"]
    bad = Path(open_store(roots[1]).location(3))
    bad.write_bytes(b"")
    problems, read = found(ConcatStore([open_store(root) for root in roots]))
    assert (list(problems), read) == ([19], 32)
    assert str(bad) in problems[19]


@pytest.mark.parametrize(
    ("second", "message"),
    [(None, "asks for file 2 of 001/nm-01/000, which has 1"), (np.zeros((99, 64, 64), np.uint8), "has 99 frames")],
)
def test_modalities_must_be_there_and_fit(
    silhouette_tree: TreeFactory, second: np.ndarray | None, message: str
) -> None:
    root = silhouette_tree()
    for index in range(16):
        path = Path(open_store(root).location(index))
        if index:
            path.with_name("zzz.pkl").write_bytes(path.read_bytes())
        elif second is not None:
            path.with_name("zzz.pkl").write_bytes(pickle.dumps(second))
    problems, _ = found(open_store(root), (0, 1))
    assert list(problems) == [0]
    assert message in problems[0]
