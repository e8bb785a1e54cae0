"""Packing a tree and unpacking it gives equal arrays, in every form of pickles."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from dygait.data.packing import pack, unpack
from dygait.data.stores import PackedStore, open_store, packed_writer
from dygait.errors import UserError

WALK = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)


def arrays(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): np.asarray(pickle.loads(p.read_bytes())).tobytes() for p in root.rglob("*.pkl")}


@pytest.fixture
def tree(root: Path) -> Path:
    forms = [pickle.dumps(WALK), pickle.dumps(list(WALK), 0), pickle.dumps(np.asfortranarray(WALK), 4)]
    forms += [pickle.dumps(WALK[:, ::2, ::-1], 3), pickle.dumps(WALK, 2) + b"trailing bytes are not read"]
    for number, content in enumerate(forms):
        folder = root / "003" / "nm-01" / f"{number:03d}"
        folder.mkdir(parents=True)
        (folder / "000.pkl").write_bytes(content)
    (root / "001" / "nm-01" / "000" / "second.pkl").write_bytes(forms[0])
    return root


def test_packing_and_unpacking(tree: Path, tmp_path: Path) -> None:
    assert pack(tree, tmp_path / "store") == (10, 0, [])
    store, source = PackedStore(tmp_path / "store"), open_store(tree)
    assert store.table.all_keys() == source.table.all_keys()
    for index in range(len(source.table)):
        assert store.num_files(index) == source.num_files(index)
        for file in range(source.num_files(index)):
            assert np.array_equal(store.read(index, file), source.read(index, file))
    assert unpack(tmp_path / "store", tmp_path / "back") == 10
    assert arrays(tmp_path / "back") == arrays(tree)
    assert unpack(tmp_path / "store", tmp_path / "back") == 0


def test_packing_again_adds_new_sequences(tree: Path, tmp_path: Path) -> None:
    pack(tree, tmp_path / "store")
    (tree / "002" / "nm-01" / "000" / "more.pkl").write_bytes(pickle.dumps(WALK))
    assert pack(tree, tmp_path / "store") == (1, 10, [])
    unpack(tmp_path / "store", tmp_path / "back")
    assert arrays(tmp_path / "back") == arrays(tree)


def test_a_bad_pickle_ends_packing_and_loses_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tree / "003" / "nm-01" / "002" / "000.pkl"
    content = bad.read_bytes()
    bad.write_bytes(content[:50])
    with pytest.raises(UserError, match=f"{bad} cannot be loaded"):
        pack(tree, tmp_path / "store")
    assert len(PackedStore(tmp_path / "store").rows) == 7, "what came before it is packed"
    packed = pack(tree, tmp_path / "store", skip_bad=True)
    assert (packed.written, packed.kept) == (2, 7)
    assert [str(bad) in message for message in packed.skipped] == [True]
    bad.write_bytes(content)
    monkeypatch.setattr(packed_writer, "COMMIT_SECONDS", 0)
    assert pack(tree, tmp_path / "store").written == 1
    unpack(tmp_path / "store", tmp_path / "back")
    assert arrays(tmp_path / "back") == arrays(tree)
