"""Tree to store to tree: equal arrays, whatever wrote the pickles; and what `verify` finds."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from conftest import TreeFactory
from dygait.data import PackedStore, open_store
from dygait.data.packing import pack, unpack
from dygait.data.stores import packed_writer
from dygait.data.verification import verify
from dygait.errors import UserError

WALK = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)


def arrays(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): np.asarray(pickle.loads(p.read_bytes())).tobytes() for p in root.rglob("*.pkl")}


@pytest.fixture
def tree(silhouette_tree: TreeFactory) -> Path:
    root = silhouette_tree(ids=["001", "002"], types=["nm-01"], views=["000", "090"], size=(6, 4))
    forms = [pickle.dumps(WALK, protocol) for protocol in range(6)]
    forms += [pickle.dumps(list(WALK), protocol) for protocol in range(6)]
    forms += [pickle.dumps(np.asfortranarray(WALK), 4), pickle.dumps(WALK[:, ::2, ::-1], 3), pickle.dumps(tuple(WALK))]
    forms += [pickle.dumps(np.zeros((3, 6, 4), np.uint8), 2), forms[4] + b"what follows is not read"]
    for number, content in enumerate(forms):
        folder = root / "003" / "nm-01" / f"{number:03d}"
        folder.mkdir(parents=True)
        (folder / "000.pkl").write_bytes(content)
    (root / "001" / "nm-01" / "000" / "second.pkl").write_bytes(forms[4])
    return root


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    packed = pack(tree, tmp_path / "store")
    assert (packed.written, packed.kept, packed.skipped) == (22, 0, [])
    store, source = PackedStore(tmp_path / "store"), open_store(tree)
    assert store.table.all_keys() == source.table.all_keys()
    for index in range(len(source.table)):
        assert store.num_files(index) == source.num_files(index)
        for file in range(source.num_files(index)):
            assert np.array_equal(store.read(index, file), source.read(index, file))
    assert unpack(tmp_path / "store", tmp_path / "back") == 22
    assert arrays(tmp_path / "back") == arrays(tree)
    assert list(verify(tmp_path / "store")) == []
    assert unpack(tmp_path / "store", tmp_path / "back") == 0


def test_packing_again_takes_in_what_is_new(tree: Path, tmp_path: Path) -> None:
    pack(tree, tmp_path / "store")
    (tree / "002" / "nm-01" / "000" / "more.pkl").write_bytes(pickle.dumps(WALK))
    again = pack(tree, tmp_path / "store")
    assert (again.written, again.kept) == (1, 22)
    unpack(tmp_path / "store", tmp_path / "back")
    assert arrays(tmp_path / "back") == arrays(tree)


def test_a_bad_pickle_ends_packing_and_costs_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tree / "003" / "nm-01" / "007" / "000.pkl"
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    with pytest.raises(UserError, match=f"{bad} cannot be loaded"):
        pack(tree, tmp_path / "store")
    assert len(PackedStore(tmp_path / "store").rows) == 12, "what came before it is packed"
    packed = pack(tree, tmp_path / "store", skip_bad=True)
    assert (packed.written, packed.kept) == (9, 12)
    assert len(packed.skipped) == 1
    assert str(bad) in packed.skipped[0]
    bad.write_bytes(good)
    monkeypatch.setattr(packed_writer, "COMMIT_SECONDS", 0)
    assert pack(tree, tmp_path / "store").written == 1
    unpack(tmp_path / "store", tmp_path / "back")
    assert arrays(tmp_path / "back") == arrays(tree)


def test_verify_names_what_is_damaged(tree: Path, tmp_path: Path) -> None:
    pack(tree, tmp_path / "store")
    frames = tmp_path / "store" / "frames-00000.bin"
    content = bytearray(frames.read_bytes())
    store = PackedStore(tmp_path / "store")
    content[int(store.rows[2]["offset"])] ^= 1
    frames.write_bytes(bytes(content))
    (problem,) = verify(tmp_path / "store")
    assert store.location(1) in problem, "the first sequence has two files"
    bad = tree / "003" / "nm-01" / "000" / "000.pkl"
    bad.write_bytes(b"")
    (problem,) = verify(tree)
    assert str(bad) in problem
