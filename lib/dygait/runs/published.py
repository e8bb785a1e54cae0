"""Published weights: a safetensors file with a record of their model, training and use.

Weights that ship with the package are identified by name: `pretrained/<name>/<name>.safetensors`, with a model card in
the same folder. The file has no class head and no optimiser state. A member of an ensemble is named as a file in a
folder of the ensemble's: `syngait/small`, `weights.safetensors/small`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

import dygait
from dygait.config_problems import suggest
from dygait.errors import UserError
from dygait.files import replacing
from dygait.untrusted import at, parse_json

SUFFIX = ".safetensors"
FOLDER = Path(dygait.__file__).resolve().parent / "pretrained"
_KEY = "dygait"  # the key of the record, which is JSON, in the metadata of the file


def names() -> list[str]:
    """Return the names of the weights that ship, sorted."""
    return sorted(path.stem for path in FOLDER.glob(f"*/*{SUFFIX}") if path.stem == path.parent.name)


def path_of(name: str, folder: Path | None = None) -> Path:
    """Return the path of named weights in a folder; by default that of the package."""
    return (folder or FOLDER) / name / f"{name}{SUFFIX}"


def locate(hint: str | Path) -> Path:
    """Return the path of weights that ship with the package, by name, or of a checkpoint or a member, by path.

    Raises:
        UserError: `hint` is no name of weights, and no path: it has no folder and no suffix, and no such file exists.
    """
    text, path, shipped = str(hint), Path(hint), names()
    name, *member = path.parts
    if name in shipped and len(member) < 2 and not (member and path.exists()):
        return path_of(name).joinpath(*member)
    if path.name == text and not path.suffix and not path.exists():
        raise UserError(
            f"there are no weights {text!r}{suggest(text, shipped)}; those that ship are "
            f"{', '.join(shipped) or 'none'}; others are named by the path of their file"
        )
    return path


def check_target(path: Path) -> None:
    """Raise UserError if weights are not to be written to a safetensors file."""
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: weights are written to a file *{SUFFIX}")


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of the names, types, shapes and values of named tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(path: Path, weights: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write weights atomically, with a record as JSON, to which their `sha256` is added.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    metadata = {"format": "pt", _KEY: json.dumps({**record, "sha256": fingerprint(tensors)})}
    content = safetensors.torch.save(tensors, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def is_member(path: Path) -> bool:
    """Return whether a path is that of a member of the ensemble in a safetensors file."""
    return path.parent.suffix == SUFFIX


def is_published(path: Path) -> bool:
    """Return whether a path is that of a safetensors file, or of a member of the ensemble in one."""
    return path.suffix == SUFFIX or is_member(path)


def read(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file under the key `model`, and the keys of its record, if it has one.

    Raises:
        UserError: there is no such file, or no such member in it, it is damaged, or its tensors do not match the
            `sha256` of its record.
    """
    path = Path(path)
    if is_member(path):
        return member_of(read(path.parent), path.name, path.parent)
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            text = (file.metadata() or {}).get(_KEY)
        record = {} if text is None else parse_json(text)
        if not isinstance(record, dict):
            raise ValueError("its metadata is no mapping")
        if text is not None and record.get("sha256") != fingerprint(weights):
            raise ValueError("its checksum is wrong")
    except FileNotFoundError:
        raise UserError(f"no such checkpoint: {path}") from None
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read: {error}") from None
    except (SafetensorError, ValueError) as error:
        raise UserError(f"the weights {path} are damaged ({error}); take the file from its source again") from None
    return {**record, "model": weights}


def members_of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return `model_cfg` of each member, by name, of the ensemble whose weights were read; none if it is another."""
    members = at(state.get("config"), "model_cfg", "members")
    return members if isinstance(members, dict) else {}


def member_of(state: Mapping[str, Any], name: str, path: str | Path) -> dict[str, Any]:
    """Return weights and record of a member of the ensemble whose weights were read from `path`.

    Raises:
        UserError: there is no such member.
    """
    members, prefix = members_of(state), f"members.{name}."
    if name not in members:
        valid = ", ".join(members) or "none"
        raise UserError(f"{path} has no member {name!r}{suggest(name, members)}; its members: {valid}")
    config, settings = state["config"], members[name]
    evaluator = config["evaluator_cfg"]
    if settings.get("input_size") not in (None, config["model_cfg"].get("input_size")):
        transform = evaluator["transform"]
        steps = transform if isinstance(transform, list) else [transform]
        evaluator = {**evaluator, "transform": [*steps, {"type": "Resize", "size": settings["input_size"]}]}
    every = state.get("ema") or state["model"]  # the averaged weights of a checkpoint, if it has them
    weights = {key.removeprefix(prefix): tensor for key, tensor in every.items() if key.startswith(prefix)}
    config = {**config, "model_cfg": settings, "evaluator_cfg": evaluator}
    return {**state, "config": config, "input_size": settings.get("input_size"), "model": weights, "ema": None}
