"""Features on disk: round trips, damage and interrupted writing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation.features import (
    Rows,
    assemble,
    checksum_of_json,
    clear,
    load_features,
    remove_features,
    replace_origin,
)
from helpers.experiments import save_features

FEATURES = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
GEI = np.random.default_rng(1).random((6, 5, 2), np.float32)
LENGTHS = [3, 9, 1, 4, 5, 30]
NAMES = (["001"] * 3 + ["002"] * 3, ["nm-01", "nm-05", "bg-01"] * 2, ["000"] * 6)


def save(folder: Path, **more: Any) -> Path:
    return save_features(folder, FEATURES, *NAMES, LENGTHS, {"protocol": "CASIA-B"}, **more)


def test_round_trip(tmp_path: Path) -> None:
    saved = load_features(save(tmp_path / "f"))
    np.testing.assert_array_equal(saved.features, FEATURES)
    assert (saved.ids, saved.types, saved.views) == NAMES
    assert saved.lengths == LENGTHS
    assert saved.origin == {"protocol": "CASIA-B"}
    assert saved.gei is None
    saved.features[:] = 0  # mapped copy-on-write
    np.testing.assert_array_equal(load_features(tmp_path / "f").features, FEATURES)


def test_parts_in_any_order_with_gei_and_another_origin(tmp_path: Path) -> None:
    orders = np.array([5, 0, 3]), np.array([1]), np.array([4, 2])
    parts = [Rows(o, np.array(LENGTHS)[o], FEATURES[o], GEI[o]) for o in orders]
    folder = assemble(clear(tmp_path / "f"), NAMES, parts, {})
    replace_origin(folder, {"protocol": "OUMVLP"})
    loaded = load_features(folder)
    np.testing.assert_array_equal(loaded.features, FEATURES)
    np.testing.assert_array_equal(loaded.gei, GEI)
    assert (loaded.lengths, loaded.origin) == (LENGTHS, {"protocol": "OUMVLP"})
    assert load_features(save(folder)).gei is None, "the previous images are deleted"
    assert sorted(path.name for path in folder.iterdir()) == ["features.npy", "sequences.json"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    save(tmp_path / "f")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"cannot be written: .*No space left on device"):
        save(tmp_path / "f")
    assert not list((tmp_path / "f").iterdir()), "neither old nor incomplete features remain"


def test_only_features_are_deleted(tmp_path: Path) -> None:
    remove_features(save(tmp_path / "f"))
    assert not (tmp_path / "f").exists()
    (save(tmp_path / "f") / "notes.txt").write_text("x")
    for change in (remove_features, save):
        with pytest.raises(UserError, match="other files"):
            change(tmp_path / "f")
    assert (tmp_path / "f" / "features.npy").exists()


def test_half(tmp_path: Path) -> None:
    saved = load_features(save(tmp_path / "f", gei=GEI, half=True))
    np.testing.assert_array_equal(saved.features, FEATURES.astype(np.float16))
    np.testing.assert_array_equal(saved.gei, GEI.astype(np.float16))
    with pytest.raises(UserError, match="float16"):
        save_features(tmp_path / "g", FEATURES * 1e5, *NAMES, LENGTHS, half=True)


def test_missing_or_incomplete_features(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no features; run `dygait extract`"):
        load_features(tmp_path)
    (save(tmp_path / "f") / "sequences.json").unlink()
    with pytest.raises(UserError, match="interrupted"):
        load_features(tmp_path / "f")


@pytest.mark.parametrize("name", ["features.npy", "gei.npy", "sequences.json"])
def test_damage_is_detected(tmp_path: Path, name: str) -> None:
    """`tests/fuzz/test_files_fuzz.py` damages random bytes."""
    path = save(tmp_path / "f", gei=GEI) / name
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{tmp_path / 'f'} is damaged"):
            load_features(tmp_path / "f")


def test_inconsistent_sequences(tmp_path: Path) -> None:
    path = save(tmp_path / "f") / "sequences.json"
    names = json.loads(path.read_text())
    names["views"].pop()
    content = {name: names[name] for name in ("ids", "types", "views", "lengths", "origin")}
    names["checksums"]["sequences.json"] = checksum_of_json(content)
    for change, message in (
        ({}, r"6 features, but \[6, 6, 5, 6\] ids"),
        ({"ids": ["x"] * 6}, "checksum"),
        ({"version": 1}, "version 1"),
    ):
        path.write_text(json.dumps({**names, **change}))
        with pytest.raises(UserError, match=f"{tmp_path / 'f'} .*{message}"):
            load_features(tmp_path / "f")
