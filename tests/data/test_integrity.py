"""Unusable sequences are found, by `verify` and before a run."""

import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data.integrity import find_unreadable, verify
from dygait.data.packing import pack
from dygait.data.stores import PackedStore, Store, open_store
from dygait.data.stores.concat import ConcatStore


def find(store: Store, files: tuple[int, ...] = (0,), count: int | None = None) -> tuple[dict[int, str], int]:
    """Return the problems of a store, and the number of sequences that were read."""
    read = 0

    def count_reads(wrapped: Iterable[Any], total: int) -> Iterable[Any]:
        nonlocal read
        read = total
        return wrapped

    return find_unreadable(store, np.arange(count or len(store.table)), files, count_reads), read


def test_a_damaged_pickle(silhouette_tree: TreeFactory) -> None:
    root = silhouette_tree()
    damaged = Path(open_store(root).location(5))
    damaged.write_bytes(damaged.read_bytes()[:100])
    problems, read = find(open_store(root))
    assert list(problems) == [5]
    assert problems[5].startswith(f"{damaged} cannot be loaded")
    assert read == find(open_store(root))[1] == 16, "damage is not cached"
    assert list(verify(root)) == [problems[5]]


def test_a_damaged_frame_of_a_store(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    target = tmp_path / "store"
    pack(silhouette_tree(), target)
    assert find(open_store(target)) == ({}, 16)
    assert find(open_store(target)) == ({}, 0)
    assert list(verify(target)) == []
    shard, store = target / "frames-00000.bin", PackedStore(target)
    content = bytearray(shard.read_bytes())
    content[int(store.rows[2]["offset"])] ^= 255
    shard.write_bytes(content)
    os.utime(shard, ns=(1, 1))  # another time, whatever the resolution of the clock
    problems, _ = find(open_store(target))
    assert list(problems) == [2]
    assert f"{store.location(2)} is damaged" in problems[2]
    assert list(verify(target)) == [problems[2]]


def test_readable_sequences_are_read_once(silhouette_tree: TreeFactory) -> None:
    root = silhouette_tree()
    assert find(open_store(root)) == ({}, 16)
    assert find(open_store(root)) == ({}, 0)
    assert find(open_store(root), count=3) == ({}, 3), "other sequences"
    path = Path(open_store(root).location(2))
    os.utime(path, ns=(1, 1))
    assert find(open_store(root)) == ({}, 16), "a file written again is read again"


def test_several_datasets(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    roots = [silhouette_tree(tmp_path / name) for name in "ab"]
    damaged = Path(open_store(roots[1]).location(3))
    damaged.write_bytes(b"")
    problems, read = find(ConcatStore([open_store(root) for root in roots]))
    assert (list(problems), read) == ([19], 32)
    assert str(damaged) in problems[19]


@pytest.mark.parametrize(
    ("second", "message"),
    [(None, "asks for file 2 of 001/nm-01/000, which has 1"), (np.zeros((99, 64, 64), np.uint8), "has 99 frames")],
)
def test_modalities_must_exist_and_fit(silhouette_tree: TreeFactory, second: np.ndarray | None, message: str) -> None:
    root = silhouette_tree()
    for index in range(16):
        path = Path(open_store(root).location(index))
        if index:
            path.with_name("zzz.pkl").write_bytes(path.read_bytes())
        elif second is not None:
            path.with_name("zzz.pkl").write_bytes(pickle.dumps(second))
    problems, _ = find(open_store(root), (0, 1))
    assert list(problems) == [0]
    assert message in problems[0]
