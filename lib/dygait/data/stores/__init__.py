"""Stores of sequences: a tree of pickles, or a packed store."""

from __future__ import annotations

from pathlib import Path

from dygait.data.stores.base import Store
from dygait.data.stores.packed import PackedStore, is_store
from dygait.data.stores.packed_writer import PackedWriter
from dygait.data.stores.pickles import PickleTree, read_pickle

__all__ = ["PackedStore", "PackedWriter", "PickleTree", "Store", "is_store", "open_store", "read_pickle"]


def open_store(root: str | Path) -> Store:
    """Open a dataset: a packed store, or a tree of pickles.

    Raises:
        UserError: there is neither, or it is damaged.
    """
    return PackedStore(root) if is_store(root) else PickleTree(root)
