"""Reading and writing checkpoints: written atomically, loaded without executing code."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dygait.errors import UserError
from dygait.files import replacing
from dygait.modeling.opengait_names import in_our_names
from dygait.runs import published

_END, _END_SIZE = b"PK\x05\x06", 22  # the end record of a zip archive
_FOLDER = 0x10  # the MS-DOS attribute of a folder in a zip archive


@dataclass(frozen=True)
class LoadReport:
    """Names of the weights of a checkpoint that were loaded into a model, and of those that were not."""

    matched: list[str] = field(default_factory=list)  # loaded
    missing: list[str] = field(default_factory=list)  # in the model only
    unexpected: list[str] = field(default_factory=list)  # in the checkpoint only
    # In both, with different shapes: name -> shape in the checkpoint and in the model.
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    reset: list[str] = field(default_factory=list)  # of the class head, which keeps its initial values
    opengait: bool = False  # whether the checkpoint has OpenGait's names

    @property
    def complete(self) -> bool:
        """Whether model and checkpoint match exactly."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors match" + (", under OpenGait's names" if self.opengait else "")]
        if self.reset:
            parts.append(f"the class head keeps its initial values ({_shortened(self.reset)})")
        if self.missing:
            parts.append(f"{len(self.missing)} are missing in the file ({_shortened(self.missing)})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} are not in the model ({_shortened(self.unexpected)})")
        if self.misshapen:
            shapes = [f"{n}: file {list(a)}, model {list(b)}" for n, (a, b) in self.misshapen.items()]
            parts.append(f"{len(shapes)} differ in shape ({_shortened(shapes)})")
        return "; ".join(parts)


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def checkpoint_path(folder: Path, save_name: str, iteration: int) -> Path:
    """Return the path of the checkpoint of an iteration."""
    return folder / f"{save_name}-{iteration:05d}.pt"


def checkpoints_of(folder: Path, save_name: str) -> dict[int, Path]:
    """Return the checkpoints of a run, iteration -> path, the highest iteration first."""
    pattern = re.compile(re.escape(save_name) + r"-(\d{5,})\.pt")
    checkpoints = {int(m[1]): p for p in folder.glob("*.pt") if (m := pattern.fullmatch(p.name))}
    return dict(sorted(checkpoints.items(), reverse=True))


def newest_checkpoint(
    folder: Path, save_name: str, on_damage: Callable[[Path, str], None] | None = None
) -> Path | None:
    """Return the undamaged checkpoint of the highest iteration, or None.

    `on_damage` is called with the path of each newer, damaged checkpoint, and a description of the damage.
    """
    for path in checkpoints_of(folder, save_name).values():
        damage = damage_of(path)
        if damage is None:
            return path
        if on_damage is not None:
            on_damage(path, damage)
    return None


def damage_of(path: Path) -> str | None:
    """Return a description of the damage of a checkpoint of DyGait; None if it is undamaged."""
    try:
        read_checkpoint(path, mapped=True)
    except UserError as error:
        return str(error)
    return None


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: after a crash or an OSError the old file remains, and no partial one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:  # PyTorch raises its own error after the OSError of a write
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def read_checkpoint(path: str | Path, mapped: bool = False) -> dict[str, Any]:
    """Load a checkpoint or published weights (`published.read`) to the CPU, and verify checksums; no code is executed.

    With `mapped`, tensors are mapped into memory instead of read.

    Raises:
        UserError: there is no such file, it is damaged, contains code, or holds no model.
    """
    if published.is_published(Path(path)):
        return published.read(path)
    path = str(path)
    try:
        _verify(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise UserError(f"no such checkpoint: {path}") from None
    except OSError as error:
        raise UserError(f"the checkpoint {path} cannot be read: {error}") from None
    except Exception as error:  # a damaged or hostile pickle can raise anything
        message = str(error) if type(error) is ValueError else type(error).__name__
        lines = str(error).splitlines()
        reason = next((line for line in lines if "Unsupported" in line or "disallowed" in line), message)
        raise UserError(
            f"the checkpoint {path} is damaged, or holds more than weights and plain values "
            f"({' '.join(reason.split())[:300]})"
        ) from None
    for key in ("model", "ema") if isinstance(state, dict) and state.get("ema") is not None else ("model",):
        weights = state.get(key) if isinstance(state, dict) else None
        if not isinstance(weights, dict) or not all(isinstance(w, torch.Tensor) for w in weights.values()):
            raise UserError(f"the checkpoint {path} holds no weights under the key '{key}'")
    return state


def _verify(path: str) -> None:
    """Raise a ValueError if a checksum is wrong, or the file is a tar archive: PyTorch up to 2.5 executes its code."""
    if tarfile.is_tarfile(path):
        raise ValueError("it is in the tar format of PyTorch before 0.2, which can contain code")
    if zipfile.is_zipfile(path):
        with Path(path).open("rb") as file, zipfile.ZipFile(file) as archive:
            file.seek(-_END_SIZE, os.SEEK_END)
            if not file.read().startswith(_END):
                raise ValueError("data is appended to it")
            # For members that are marked as folders, PyTorch returns uninitialised memory.
            folders = (member.filename for member in archive.infolist() if member.external_attr & _FOLDER)
            broken = next(folders, None) or archive.testzip()
        if broken is not None:
            raise ValueError(f"its member {broken} is damaged")


def weights_of(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the averaged weights of a checkpoint's state, if it has them, else its weights."""
    averaged: dict[str, torch.Tensor] | None = state.get("ema")
    return state["model"] if averaged is None else averaged


def load_weights(model: nn.Module, path: str | Path, strict: bool = True, reset_head: bool = False) -> LoadReport:
    """Load the weights of a checkpoint into a model, and return which of them matched.

    Args:
        path: a checkpoint of DyGait, or of OpenGait for a model that OpenGait has; a safetensors file; or the name of
            weights that ship with the package.
        strict: whether all weights must match; otherwise those that match in name and shape are loaded.
        reset_head: whether the class head (the model's attribute `class_head`) keeps its initial values if the file has
            none, or one with another number of classes. Always true for safetensors.

    Raises:
        UserError: the file cannot be used, or `strict` and something does not match; the model is unchanged then.
    """
    file = published.locate(path)
    reset_head = reset_head or published.is_published(file)
    return load_state(model, read_checkpoint(file)["model"], str(path), strict, reset_head)


def load_state(
    model: nn.Module, weights: Mapping[str, torch.Tensor], source: str, strict: bool = True, reset_head: bool = False
) -> LoadReport:
    """Load named tensors into a model; as `load_weights`."""
    weights, report = compare(model, weights, reset_head)
    if (strict and not report.complete) or not report.matched:
        remedy = "; restore_ckpt_strict: false loads what matches" if report.matched else ""
        raise UserError(f"the checkpoint {source} does not match the model: {report}{remedy}")
    model.load_state_dict({n: weights[n] for n in report.matched}, strict=False)
    return report


def compare(
    model: nn.Module, weights: Mapping[str, torch.Tensor], reset_head: bool = False
) -> tuple[dict[str, torch.Tensor], LoadReport]:
    """Return weights under the model's names, and a report of what would be loaded; the model is unchanged."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    renamed, opengait = in_our_names(model, weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in renamed.items()}
    fitting = {n for n in expected if shapes.get(n) == expected[n]}
    reset = [n for n in expected if reset_head and n not in fitting and n in getattr(model, "class_head", ())]
    required = [n for n in expected if n not in reset]
    return renamed, LoadReport(
        matched=[n for n in required if n in fitting],
        missing=[n for n in required if n not in shapes],
        unexpected=[n for n in shapes if n not in expected],
        misshapen={n: (shapes[n], expected[n]) for n in required if n in shapes and n not in fitting},
        reset=reset,
        opengait=opengait,
    )
