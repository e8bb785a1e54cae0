"""Features on disk: what was written is what is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.errors import UserError
from dygait.evaluation.features import load_features, save_features

FEATURES = np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
NAMES = (["001"] * 3 + ["002"] * 3, ["nm-01", "nm-05", "bg-01"] * 2, ["000"] * 6)


def save(folder: Path, **more: Any) -> Path:
    return save_features(folder, FEATURES, *NAMES, {"protocol": "CASIA-B"}, **more)


def test_round_trip(tmp_path: Path) -> None:
    saved = load_features(save(tmp_path / "f"))
    np.testing.assert_array_equal(saved.features, FEATURES)
    assert (saved.ids, saved.types, saved.views) == NAMES
    assert saved.origin == {"protocol": "CASIA-B"}
    assert isinstance(saved.features, np.memmap)


def test_half(tmp_path: Path) -> None:
    saved = load_features(save(tmp_path / "f", half=True))
    np.testing.assert_array_equal(saved.features, FEATURES.astype(np.float16))
    with pytest.raises(UserError, match="which float16 cannot hold"):
        save_features(tmp_path / "g", FEATURES * 1e5, *NAMES, half=True)


def test_features_replace_features_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / "f")
    save_features(tmp_path / "f", FEATURES[:2], *(names[:2] for names in NAMES))
    assert len(load_features(tmp_path / "f").ids) == 2
    (tmp_path / "f" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds something else than features"):
        save(tmp_path / "f")


def test_interrupted_or_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no features are there; make them with `dygait extract`"):
        load_features(tmp_path)
    (save(tmp_path / "f") / "sequences.json").unlink()
    with pytest.raises(UserError, match="interrupted"):
        load_features(tmp_path / "f")


@settings(derandomize=True, deadline=None, max_examples=150)
@given(name=st.sampled_from(["features.npy", "sequences.json"]), data=st.data())
def test_damage_is_found_or_harmless(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    folder = save(tmp_path_factory.mktemp("damage") / "f")
    path = folder / name
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1), "length") :]
    else:
        content[data.draw(st.integers(0, len(content) - 1), "place")] ^= data.draw(st.integers(1, 255), "bits")
    path.write_bytes(content)
    try:
        found = load_features(folder)
    except UserError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.startswith(str(folder))
        return
    assert found.features.shape == FEATURES.shape
    if name == "features.npy":
        np.testing.assert_array_equal(found.features, FEATURES)


def test_a_column_that_is_too_short(tmp_path: Path) -> None:
    path = save(tmp_path / "f") / "sequences.json"
    names = json.loads(path.read_text())
    names["views"].pop()
    path.write_text(json.dumps(names))
    with pytest.raises(UserError, match=r"6 features, but \[6, 6, 5\] ids, types and views"):
        load_features(tmp_path / "f")
