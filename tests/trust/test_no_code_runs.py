"""Files cannot run code: every reader raises an error for every form of hostile pickle, and calls nothing."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dygait import cli
from dygait.data.collate import Batch
from dygait.data.partition import load_partition
from dygait.data.stores import PackedStore, PackedWriter, read_pickle
from dygait.errors import UserError
from dygait.evaluation.features import load_features
from dygait.evaluation.shards import Shards
from dygait.runs.checkpoint_files import read_checkpoint, save_checkpoint
from dygait.runs.status import status
from dygait.training.bad_batch import diagnose
from helpers.experiments import save_features, tiny_settings

WALK = np.zeros((2, 4, 3), np.uint8)


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mknod, (str(self.path),)


def persistent(hostile: Any) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return hostile if value == "it" else None

    buffer = io.BytesIO()
    Pickler(buffer, 4).dump(["it"])
    return buffer.getvalue()


def hostile_pickles(sentinel: Path) -> dict[str, bytes]:
    touch = Touch(sentinel)
    objects = np.empty(1, object)
    objects[0] = touch
    return {
        "bare": pickle.dumps(touch),
        "protocol 0": pickle.dumps(touch, 0),
        "in a list": pickle.dumps([WALK[0], [[touch]]]),
        "as a key": pickle.dumps({"a": {(1, touch): WALK}}),
        "an array of objects": pickle.dumps(objects),
        "behind an array": pickle.dumps(WALK) [:-1] + b"0" + pickle.dumps(touch, 2)[2:],
        "a persistent name": persistent(touch),
        "os.system": f"cos\nsystem\n(S'touch {sentinel}'\ntR.".encode(),
        "builtins.exec": f"cbuiltins\nexec\n(S\"open('{sentinel}', 'w')\"\ntR.".encode(),
        "an instance": f"(S'touch {sentinel}'\nios\nsystem\n.".encode(),
        "a function of an allowed module": f"cnumpy\nfromfile\n(S'{sentinel}'\ntR.".encode(),
        "nested names": b"\x80\x04\x8c\x05torch\x8c\x0bhub.os.mknod\x93\x8c"
        + bytes([len(str(sentinel))]) + str(sentinel).encode() + b"\x85R.",
    }  # fmt: skip


def as_legacy(content: bytes) -> bytes:
    """Return a checkpoint in PyTorch's form before archives, with this pickle."""
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    return head + content + pickle.dumps([], 2)


def as_tar(content: bytes) -> bytes:
    """Return a checkpoint in PyTorch's first form, which circumvented `weights_only` up to version 2.5."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def as_archive(content: bytes) -> bytes:
    template, buffer = io.BytesIO(), io.BytesIO()
    torch.save({"model": {"w": torch.zeros(1)}}, template)
    with zipfile.ZipFile(template) as source, zipfile.ZipFile(buffer, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, content if name.endswith("data.pkl") else source.read(name))
    return buffer.getvalue()


def _read_each(folder: Path, names: tuple[str, ...], content: bytes, read: Callable[[Path], Any]) -> None:
    """Replace each file of a folder in turn, and check that reading the folder is an error."""
    for name in names:
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            read(folder)
        (folder / name).write_bytes(original)
    (folder / names[0]).write_bytes(content)
    read(folder)


def _read_features(path: Path, content: bytes) -> None:
    save_features(path / "features", np.zeros((1, 1, 1), np.float32), ["a"], ["b"], ["c"], [1])
    _read_each(path / "features", ("features.npy", "sequences.json"), content, load_features)


def _read_store(path: Path, content: bytes) -> None:
    with PackedWriter(path / "store") as writer:
        writer.write("001", "nm-01", "000", WALK)
    _read_each(path / "store", ("store.json", "index-1.npy", "names-1.json"), content, PackedStore)


def _read_shard(path: Path, content: bytes) -> None:
    shards = Shards(path, "k")
    shards.path("000000").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        shards.read("000000")
    with zipfile.ZipFile(shards.path("000000"), "w") as archive:
        archive.writestr("key.npy", content)
    shards.read("000000")


def _read_checkpoint(path: Path, content: bytes) -> None:
    for number, form in enumerate((as_archive, as_legacy, as_tar)):
        (path / f"{number}.pt").write_bytes(form(content))
        with pytest.raises(UserError, match="is damaged"):
            read_checkpoint(path / f"{number}.pt")
    (path / "bare.pt").write_bytes(content)
    read_checkpoint(path / "bare.pt")


def _read_sequence(path: Path, content: bytes) -> None:
    (path / "x.pkl").write_bytes(content)
    read_pickle(path / "x.pkl")


def _read_partition(path: Path, content: bytes) -> None:
    (path / "p.json").write_bytes(content)
    load_partition(str(path / "p.json"), "CASIA-B")


@pytest.mark.parametrize(
    "read", [_read_sequence, _read_checkpoint, _read_features, _read_store, _read_shard, _read_partition]
)
def test_hostile_pickles_run_nothing(read: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    for number, (name, content) in enumerate(hostile_pickles(sentinel).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(UserError) as caught:
            read(folder, content)
        assert "\n" not in str(caught.value), name
        assert not sentinel.exists(), name


def test_hostile_pickles_do_run_code(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    for name in ("bare", "protocol 0", "in a list", "an array of objects", "os.system", "builtins.exec", "an instance"):
        sentinel.unlink(missing_ok=True)
        pickle.loads(hostile_pickles(sentinel)[name])
        assert sentinel.exists(), name


# Code named by a file


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "code.py"
    path.write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'sentinel')!r}).touch()\n")
    return path


def settings(code: Path) -> dict[str, Any]:
    return {**tiny_settings(Path("data"), Path("p.json")), "custom_imports": [str(code)]}


def test_code_that_a_checkpoint_names_is_not_run(code: Path, tmp_path: Path) -> None:
    state = {"model": {"w": torch.zeros(1)}, "config": settings(code), "iteration": 1}
    save_checkpoint(tmp_path / "run" / "checkpoints" / "run-00001.pt", state)
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "run-00001.pt")["config"]["custom_imports"] == [str(code)]
    (tmp_path / "run" / "logs").mkdir()
    (tmp_path / "run" / "logs" / "config_train.yaml").write_text(yaml.safe_dump(settings(code)))
    assert status(tmp_path / "run")["checkpoint"] == "run-00001.pt"
    assert not (tmp_path / "sentinel").exists()


def test_code_that_features_name_is_not_run(code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = {"config": settings(code), "protocol": "CASIA-B", "metric": "euc"}
    columns = ["001", "001", "002", "002"], ["nm-01", "nm-05"] * 2, ["000", "090"] * 2
    save_features(tmp_path / "f", np.random.default_rng(0).normal(size=(4, 2, 2)), *columns, [9] * 4, origin)
    assert cli.main(["report", str(tmp_path / "f"), "--output", str(tmp_path / "r.html")]) in (0, 2)
    assert cli.main(["evaluate", str(tmp_path / "f"), "--ranks-only"]) in (0, 2)
    assert not (tmp_path / "sentinel").exists()


def test_code_that_a_saved_batch_names_is_not_run(code: Path, tmp_path: Path) -> None:
    index = torch.zeros(1, dtype=torch.int64)
    batch = Batch(torch.zeros(1, 2, 4, 4, dtype=torch.uint8), None, index, index)
    state: dict[str, Any] = {
        "model": {"w": torch.zeros(1)}, "batch": vars(batch), "names": ["a"], "iteration": 1,
        "config": {**settings(code), "model_cfg": {"model": "Theirs"}},
    }  # fmt: skip
    with pytest.raises(UserError, match="--custom-import"):
        diagnose(state, "batch.pt")
    assert not (tmp_path / "sentinel").exists()
    for key, value in (("config", 3), ("config", {}), ("batch", 3), ("names", None), ("batch", {"silhouettes": 3})):
        with pytest.raises(UserError, match=r"batch\.pt"):
            diagnose({**state, "config": tiny_settings(Path("d"), Path("p")), key: value}, "batch.pt")
    save_checkpoint(tmp_path / "batch.pt", state)
    assert cli.main(["debug-batch", str(tmp_path / "batch.pt"), "--custom-import", str(code)]) == 2
    assert (tmp_path / "sentinel").exists()
