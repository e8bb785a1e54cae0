"""Stores of sequences: a tree of pickles, a packed store, or SynGait, which is rendered when it is read."""

from __future__ import annotations

from pathlib import Path

from dygait.data.stores.base import Store
from dygait.data.stores.concat import ConcatStore
from dygait.data.stores.packed_format import MANIFEST
from dygait.data.stores.packed_reader import PackedStore
from dygait.data.stores.packed_writer import PackedWriter
from dygait.data.stores.pickles import PickleTree, read_pickle
from dygait.data.stores.rendered import RenderedStore
from dygait.synthetic.settings import is_address


def open_store(root: str | Path | list[str]) -> Store:
    """Open a packed store, a tree of pickles, SynGait by its address, or a list of these as one store.

    Raises:
        UserError: there is no dataset, it is damaged, or the address is invalid.
    """
    if isinstance(root, list):
        return ConcatStore([open_store(entry) for entry in root])
    if is_address(root):
        return RenderedStore(root)
    return PackedStore(root) if Path(root, MANIFEST).is_file() else PickleTree(root)
