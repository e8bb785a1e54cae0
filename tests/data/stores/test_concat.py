"""Several datasets as one: every sequence keeps its frames, and ids stay distinct."""

import pickle
from pathlib import Path

import numpy as np

from conftest import TreeFactory
from dygait.data.packing import pack
from dygait.data.stores import PackedStore, open_store
from dygait.data.stores.concat import ConcatStore


def test_ids_are_kept_apart_and_frames_found(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    one = silhouette_tree(tmp_path / "one", ids=["001", "002"], types=["nm-01"], views=["000", "090"], size=(6, 4))
    two = silhouette_tree(tmp_path / "two", ids=["002"], types=["nm-01", "cl-01"], views=["090", "180"], size=(6, 4))
    pack(two, tmp_path / "packed")
    parts = [open_store(one), PackedStore(tmp_path / "packed")]
    both = ConcatStore(parts)
    assert both.table.ids.names == ["1:001", "1:002", "2:002"]
    expected = [(f"1:{i}", t, v) for i, t, v in parts[0].table.all_keys()] + [
        (f"2:{i}", t, v) for i, t, v in parts[1].table.all_keys()
    ]
    assert both.table.all_keys() == expected
    for index, (person, kind, view) in enumerate(expected):
        file = tmp_path / ("one" if person[0] == "1" else "two") / person[2:] / kind / view / f"{view}.pkl"
        assert np.array_equal(both.read(index), pickle.loads(file.read_bytes()))
        assert both.num_files(index) == 1
        assert f"{kind}/{view}/{view}.pkl" in both.location(index)
    indices = np.array([5, 0, 7, 3])
    assert both.lengths(indices).tolist() == [len(both.read(index)) for index in indices.tolist()]
    assert both.fingerprint not in [part.fingerprint for part in parts]
    assert both.fingerprint != ConcatStore(parts[::-1]).fingerprint


def test_the_sizes_of_frames_of_all_are_known(silhouette_tree: TreeFactory, tmp_path: Path) -> None:
    small = silhouette_tree(tmp_path / "small", ids=["001"], types=["nm-01"], views=["000", "090"], size=(6, 4))
    large = silhouette_tree(tmp_path / "large", ids=["001", "002"], types=["nm-01"], views=["000"], size=(8, 4))
    pack(large, tmp_path / "packed")
    both = ConcatStore([open_store(small), PackedStore(tmp_path / "packed")])
    assert both.geometries(np.arange(4)) == {(6, 4): 0, (8, 4): 2}
    assert both.geometries(np.array([3, 2])) == {(8, 4): 3}
    for size, index in both.geometries(np.arange(4)).items():
        assert both.read(index).shape[1:] == size
