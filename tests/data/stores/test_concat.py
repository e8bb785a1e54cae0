"""Several datasets as one store: sequences keep their frames, and ids stay distinct."""

import pickle
from pathlib import Path

import numpy as np

from conftest import TreeFactory
from dygait.data.packing import pack
from dygait.data.stores import PackedStore, open_store
from dygait.data.stores.concat import ConcatStore


def test_ids_are_distinct_and_frames_are_read(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    first = silhouette_tree(tmp_path / "1", ids=["001", "002"], types=["nm-01"], views=["000", "090"], size=(6, 4))
    second = silhouette_tree(tmp_path / "2", ids=["002"], types=["nm-01", "cl-01"], views=["090", "180"], size=(6, 4))
    pack(second, tmp_path / "packed")
    stores = [open_store(first), PackedStore(tmp_path / "packed")]
    store = ConcatStore(stores)
    assert store.table.ids.names == ["1:001", "1:002", "2:002"]
    expected = [(f"1:{i}", t, v) for i, t, v in stores[0].table.all_keys()] + [
        (f"2:{i}", t, v) for i, t, v in stores[1].table.all_keys()
    ]
    assert store.table.all_keys() == expected
    for index, (person, kind, view) in enumerate(expected):
        file = tmp_path / person[0] / person[2:] / kind / view / f"{view}.pkl"
        assert np.array_equal(store.read(index), pickle.loads(file.read_bytes()))
        assert store.num_files(index) == 1
        assert f"{kind}/{view}/{view}.pkl" in store.location(index)
    indices = np.array([5, 0, 7, 3])
    assert store.lengths(indices).tolist() == [len(store.read(index)) for index in indices.tolist()]
    assert store.fingerprint not in [part.fingerprint for part in stores]
    assert store.fingerprint != ConcatStore(stores[::-1]).fingerprint


def test_the_sizes_of_all_frames(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    small = silhouette_tree(tmp_path / "small", ids=["001"], types=["nm-01"], views=["000", "090"], size=(6, 4))
    large = silhouette_tree(tmp_path / "large", ids=["001", "002"], types=["nm-01"], views=["000"], size=(8, 4))
    pack(large, tmp_path / "packed")
    store = ConcatStore([open_store(small), PackedStore(tmp_path / "packed")])
    assert store.geometries(np.arange(4)) == {(6, 4): 0, (8, 4): 2}
    assert store.geometries(np.array([3, 2])) == {(8, 4): 3}
    for size, index in store.geometries(np.arange(4)).items():
        assert store.read(index).shape[1:] == size
