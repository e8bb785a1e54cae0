"""Checkpoint files: writing, reading, damage, and weights that do not fit."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dygait.errors import UserError
from dygait.runs.checkpoint_files import (
    checkpoint_path,
    damage_of,
    load_state,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from dygait.runs.folder import remove_unfinished


def layers(out: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Linear(4, out))


def test_write_and_read(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path / "deep" / "er", "run", 7)
    assert path.name == "run-00007.pt"
    model = layers()
    save_checkpoint(path, {"model": model.state_dict(), "iteration": 7})
    state = read_checkpoint(path)
    assert state["iteration"] == 7
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(state["model"][name], tensor, rtol=0, atol=0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_newest_is_by_number(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, "run") is None
    for name in ("run-00002", "run-00010", "run-100000", "other-999999", "run-x-00099", "run-00011.pt.tmp"):
        torch.save({"model": {}}, tmp_path / f"{name}.pt")
    newest = newest_checkpoint(tmp_path, "run")
    assert newest.name == "run-100000.pt"


def test_a_member_marked_as_a_folder_is_damage(tmp_path: Path) -> None:
    """PyTorch would load its tensor from uninitialised memory."""
    buffer = io.BytesIO()
    torch.save({"model": {"weight": torch.randn(7, 11)}}, buffer)
    content = bytearray(buffer.getvalue())
    attributes = content.rindex(b"archive/data/0") - 8  # in the directory at the end: four bytes, an offset, the name
    content[attributes] ^= 0x10
    (tmp_path / "run-00001.pt").write_bytes(content)
    assert "data/0" in (damage_of(tmp_path / "run-00001.pt") or "")


def test_partially_written_files_are_removed(tmp_path: Path) -> None:
    save_checkpoint(checkpoint_path(tmp_path, "run", 1), {"model": {}})
    pid = 2**22 + 1  # of no process: above the largest id of Linux
    partial = [tmp_path / name for name in (f".run-00002.pt.{pid}", f".state.json.{pid}", f".run-1.pt.{os.getpid()}")]
    kept = [tmp_path / name for name in (f".run-00002.pt.{os.getppid()}", ".run-00002.pt.old", f"run.pt.{pid}")]
    for path in (*partial, *kept):
        path.write_bytes(b"partial")
    assert sorted(remove_unfinished(tmp_path)) == sorted(partial)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, checkpoint_path(tmp_path, "run", 1)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "is damaged"),
        (None, "no such checkpoint"),
        ({"weights": {}}, "holds no weights under the key 'model'"),
        ({"model": 3}, "holds no weights under the key 'model'"),
        ({"model": {"0.weight": 3}}, "holds no weights under the key 'model'"),
        ({"model": {"w": torch.zeros(1)}, "ema": {"w": 3}}, "no weights under the key 'ema'"),
        ([1, 2], "holds no weights under the key 'model'"),
    ],
)
def test_unusable_files(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "run.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read|is damaged"):
        read_checkpoint(tmp_path)


def test_weights_that_do_not_fit_are_reported() -> None:
    model = layers(out=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = dict(layers(out=5).state_dict())
    weights["strange"] = weights.pop("0.bias")
    with pytest.raises(UserError, match="restore_ckpt_strict: false loads what matches") as caught:
        load_state(model, weights, "x.pt")
    assert "1.weight: file [5, 4], model [3, 4]" in str(caught.value)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)

    report = load_state(model, weights, "x.pt", strict=False)
    assert report.matched == ["0.weight"]
    assert report.missing == ["0.bias"]
    assert report.unexpected == ["strange"]
    assert report.misshapen == {"1.weight": ((5, 4), (3, 4)), "1.bias": ((5,), (3,))}
    torch.testing.assert_close(model.state_dict()["0.weight"], weights["0.weight"], rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict()["1.weight"], before["1.weight"], rtol=0, atol=0)


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(UserError, match="does not match the model"):
        load_state(layers(), {"other": torch.zeros(1)}, "x.pt", strict=False)
