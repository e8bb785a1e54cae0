"""Published weights: writing, reading and detecting changes."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from dygait.errors import UserError
from dygait.runs import published

WEIGHTS = {
    "layer.weight": torch.arange(6.0).reshape(2, 3).half(),
    "norm.count": torch.tensor(7),
    "norm.mean": torch.tensor([0.5, -1.25]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of published weights with two names, in place of that of the package."""
    monkeypatch.setattr(published, "FOLDER", tmp_path / "pretrained")
    for name in ("walkers", "syngait"):
        published.write(published.path_of(name), WEIGHTS, {"name": name})
    return tmp_path / "pretrained"


def test_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mine.safetensors"
    published.write(path, WEIGHTS, {"name": "mine", "config": {"model_cfg": {"bins": [1, 2]}}, "seed": None})
    state = published.read(path)
    weights = state.pop("model")
    assert {name: w.dtype for name, w in weights.items()} == {name: w.dtype for name, w in WEIGHTS.items()}
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)
    assert state == {
        "name": "mine", "config": {"model_cfg": {"bins": [1, 2]}}, "seed": None,
        "sha256": published.fingerprint(WEIGHTS),
    }  # fmt: skip
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "other",
    [
        {"layer.weight": WEIGHTS["layer.weight"] + 1},
        {"layer.weight": WEIGHTS["layer.weight"].float()},
        {"layer.weight": WEIGHTS["layer.weight"].reshape(3, 2)},
        {"other": torch.zeros(1)},
    ],
    ids=["value", "type", "shape", "name"],
)
def test_the_fingerprint_sees_every_change(other: dict[str, torch.Tensor]) -> None:
    assert published.fingerprint({**WEIGHTS, **other}) != published.fingerprint(WEIGHTS)
    assert published.fingerprint(dict(reversed(WEIGHTS.items()))) == published.fingerprint(WEIGHTS)


def test_other_safetensors_are_weights_without_metadata(tmp_path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "theirs.safetensors", {"format": "pt"})
    state = published.read(tmp_path / "theirs.safetensors")
    assert state.keys() == {"model"}
    assert state["model"].keys() == WEIGHTS.keys()


def test_every_changed_byte_of_the_tensors_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    published.write(path, WEIGHTS, {})
    original = path.read_bytes()
    size = sum(w.numel() * w.element_size() for w in WEIGHTS.values())
    for position in range(len(original) - size, len(original)):
        path.write_bytes(original[:position] + bytes([original[position] ^ 1]) + original[position + 1 :])
        with pytest.raises(UserError, match=r"mine.safetensors are damaged"):
            published.read(path)
    for content in (b"", original[:20], original[:-1], b"\xff" * 64, original.replace(b'"sha256', b'"sha255')):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"mine.safetensors are damaged"):
            published.read(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        published.read(tmp_path / "none.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=r"folder.safetensors"):
        published.read(tmp_path / "folder.safetensors")


def test_names(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "syngait" / "MODEL_CARD.md").write_text("a card")
    assert published.names() == ["syngait", "walkers"]
    assert published.locate("syngait") == folder / "syngait" / "syngait.safetensors"
    assert published.locate("output/run.pt") == Path("output/run.pt")
    assert published.locate("run.pt") == Path("run.pt")
    monkeypatch.chdir(tmp_path)
    Path("checkpoint").write_bytes(b"")
    assert published.locate("checkpoint") == Path("checkpoint")


def test_an_unknown_name_lists_the_valid_ones(folder: Path) -> None:
    with pytest.raises(UserError, match=r"'syngiat'; did you mean 'syngait'\?; those that ship are syngait, walkers"):
        published.locate("syngiat")


def test_without_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="those that ship are none"):
        published.locate("syngait")


def test_a_member_has_the_averaged_weights_of_a_checkpoint() -> None:
    config = {"model_cfg": {"members": {"a": {"model": "DyGait"}}}, "evaluator_cfg": {}}
    state = {"model": {"members.a.w": torch.zeros(1)}, "ema": {"members.a.w": torch.ones(1)}, "config": config}
    member = published.member_of(state, "a", "run.pt")
    assert member["model"] == {"w": torch.ones(1)}
    assert (member["ema"], member["config"]["model_cfg"]) == (None, {"model": "DyGait"})
