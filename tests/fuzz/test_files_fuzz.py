"""Damaged and altered files of every kind are read or give a `UserError`; content with checksums is never wrong."""

import io
import json
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dygait.data.packing import unpack
from dygait.data.partition import load_partition
from dygait.data.stores import PackedStore, PackedWriter
from dygait.errors import UserError
from dygait.evaluation.features import load_features
from dygait.preprocess.archives import InputFile, members, read
from dygait.runs.checkpoint_files import damage_of, load_state, read_checkpoint, save_checkpoint
from helpers import raw
from helpers.experiments import save_features
from helpers.fuzzing import altered, cases, damaged, in_time

pytestmark = pytest.mark.usefixtures("bounded_memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# Partitions

PARTITION = {"TRAIN_SET": ["001", "002"], "TEST_SET": ["003", "probe"], "PROBE_SET": ["003/nm-01/000"]}
WORDS = [
    b"[" * 3000, b'"TEST_SET": [],', b"NaN", b"1e999", b"9" * 5000, b'"\\ud800"', b"\xff", b"{", b"}", b"null", b'""',
]  # fmt: skip


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@cases
@given(st.one_of(damaged([encoded(PARTITION)], WORDS), altered(PARTITION).map(encoded)))
def test_partitions(folder: Path, content: bytes) -> None:
    path = folder / "partition.json"
    path.write_bytes(content)
    try:
        with in_time():
            partition = load_partition(str(path), "CASIA-B")
    except UserError as error:
        reason = str(error)
    else:
        reason = "data_cfg.dataset_partition"
        ids = (*partition.train, *partition.test, *(partition.probe or ()))
        assert all(isinstance(name, str) for name in ids)
        assert not set(partition.train) & set(partition.test)
    assert reason.startswith("data_cfg.dataset_partition")


# Checkpoints

WEIGHTS = torch.nn.Linear(3, 2)
STATE = {
    "model": {name: tensor.detach() for name, tensor in WEIGHTS.state_dict().items()},
    "optimizer": torch.optim.AdamW(WEIGHTS.parameters()).state_dict(),
    "iteration": 7,
}


def checkpoint_bytes(**form: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer, **form)
    return buffer.getvalue()


ZIPPED, LEGACY = checkpoint_bytes(), checkpoint_bytes(_use_new_zipfile_serialization=False)


def checkpoint(folder: Path, content: bytes) -> dict[str, Any] | None:
    path = folder / "run-00007.pt"
    path.write_bytes(content)
    with in_time():
        damage = damage_of(path)
        try:
            state = read_checkpoint(path)
            load_state(torch.nn.Linear(3, 2), state["model"], "it", strict=False)
        except UserError:
            return None
    return state if damage is None else None


@cases
@given(damaged([ZIPPED], [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6"]))
def test_damaged_checkpoints(folder: Path, content: bytes) -> None:
    state = checkpoint(folder, content)
    if state is not None:
        assert state["iteration"] == 7
        for name, tensor in STATE["model"].items():  # type: ignore[attr-defined]
            assert torch.equal(state["model"][name], tensor), "checksums cover the weights"


# The packed store

WALK = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)


@pytest.fixture(scope="module")
def store(folder: Path) -> dict[str, bytes]:
    with PackedWriter(folder / "intact") as writer:
        for person in ("001", "002"):
            for view in ("000", "090"):
                writer.write(person, "nm-01", view, WALK)
    return {path.name: path.read_bytes() for path in (folder / "intact").iterdir() if path.stat().st_size}


def rewrite(root: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    raw.write(root, files)


def check_store(root: Path, files: dict[str, bytes], fix_checksums: bool) -> None:
    """Write a store, with its checksums corrected on request; read all of it, and unpack it."""
    if fix_checksums:
        manifest = json.loads(files["store.json"])
        manifest["checksums"] = {name: zlib.crc32(files[name]) for name in manifest["checksums"]}
        files = {**files, "store.json": encoded(manifest)}
    rewrite(root, files)
    with in_time():
        try:
            store = PackedStore(root)
            keys = list(store.table.all_keys())
            assert len(set(keys)) == len(keys)
            for index in range(len(store.table)):
                store.verify(index)
                assert fix_checksums or np.array_equal(store.read(index), WALK)
            unpack(root, root / "out" / "inside")
        except UserError:
            pass
    assert {path.name for path in (root / "out").glob("*")} <= {"inside"}


@cases
@given(data=st.data())
def test_stores(folder: Path, store: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(store)))
    changes = damaged([store[name]], WORDS)
    if name.endswith(".json"):
        changes = st.one_of(changes, altered(json.loads(store[name])).map(encoded))
    fix_checksums = name != "store.json" and data.draw(st.booleans())
    check_store(folder / "damaged", {**store, name: data.draw(changes)}, fix_checksums)


# Features

COUNT = 8
ORIGIN = {
    "checkpoint": "run-00007.pt", "iteration": 7, "dataset": "CASIA-B", "fingerprint": "x", "protocol": "CASIA-B",
    "metric": "euc", "probes": None,
    "config": {"data_cfg": {"dataset_root": "nowhere"}, "evaluator_cfg": {"protocol": None}},
}  # fmt: skip


@pytest.fixture(scope="module")
def features(folder: Path) -> dict[str, bytes]:
    numbers = np.random.default_rng(0).normal(size=(COUNT, 2, 2)).astype(np.float32)
    columns = ["001"] * 4 + ["002"] * 4, ["nm-01", "nm-05"] * 4, ["000", "000", "090", "090"] * 2
    save_features(folder / "features", numbers, *columns, [9] * COUNT, ORIGIN)
    return {path.name: path.read_bytes() for path in (folder / "features").iterdir()}


@cases
@given(data=st.data())
def test_damaged_features(folder: Path, features: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(features)))
    root = folder / "damaged-features"
    rewrite(root, {**features, name: data.draw(damaged([features[name]], WORDS))})
    try:
        with in_time():
            saved = load_features(root)
    except UserError:
        return
    assert np.array_equal(saved.features, np.load(folder / "features" / "features.npy"))


# Archives

FILES = {"b/2.png": b"two" * 50, "a/1.png": b"one", "a/notes.txt": b"-"}
ARCHIVES = [raw.zipped(FILES), raw.zipped(FILES, "secret"), *(raw.tar(FILES, mode) for mode in ("w", "w:gz", "w:xz"))]
HEADS = [
    tarfile.TarInfo(name).tobuf(form)
    for name, form in (("x0", tarfile.GNU_FORMAT), ("x1", tarfile.PAX_FORMAT), ("x2", tarfile.USTAR_FORMAT))
]
HEADS += [b"30 path=../up.png\n", b"GNU.sparse.major=1\n", bytes(512)]


@cases
@given(damaged(ARCHIVES, HEADS), st.sampled_from(["x.zip", "x.tgz"]))
def test_damaged_archives(content: bytes, name: str) -> None:
    with in_time():
        try:
            for file in members(InputFile(name, len(content), content=content), "secret", lambda inner: True):
                assert ".." not in file.name.split("/")
                read(file, 2**20, "secret")
        except UserError as error:
            message = str(error)
        else:
            message = name
    assert "secret" not in message
    assert name in message


def test_intact_files_are_read(folder: Path, store: dict[str, bytes], features: dict[str, bytes]) -> None:
    """Otherwise the errors above would prove nothing."""
    for content in (ZIPPED, LEGACY):
        state = checkpoint(folder, content) or read_checkpoint(folder / "run-00007.pt")
        assert torch.equal(state["model"]["weight"], WEIGHTS.weight)
    check_store(folder / "intact-store", store, fix_checksums=True)
    assert len(list((folder / "intact-store" / "out").rglob("*.pkl"))) == 4
    save_checkpoint(folder / "a.pt", STATE)
    assert damage_of(folder / "a.pt") is None
