"""Published weights: a safetensors file that says what its weights are, how they were made, and how to use them.

Those that ship with the package are known by name: `pretrained/<name>/<name>.safetensors`, with a model card beside it.
The file holds no class head, and no state of the optimiser.
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
from dygait.untrusted import parse_json

SUFFIX = ".safetensors"
FOLDER = Path(dygait.__file__).resolve().parent / "pretrained"
_KEY = "dygait"  # of the file's metadata: JSON


def names() -> list[str]:
    """Return the names of the weights that ship, sorted."""
    return sorted(path.stem for path in FOLDER.glob(f"*/*{SUFFIX}") if path.stem == path.parent.name)


def path_of(name: str, folder: Path | None = None) -> Path:
    """Return where weights of a name are, or are to be written: in the package or in another folder."""
    return (folder or FOLDER) / name / f"{name}{SUFFIX}"


def locate(hint: str | Path) -> Path:
    """Return the path that a name of weights that ship, or the path of a checkpoint, means.

    Raises:
        UserError: it is neither a name that exists nor a path: without a folder, a suffix, or a file of that name.
    """
    text, path, shipped = str(hint), Path(hint), names()
    if text in shipped:
        return path_of(text)
    if path.name == text and not path.suffix and not path.exists():
        raise UserError(
            f"there are no weights {text!r}{suggest(text, shipped)}; those that ship are "
            f"{', '.join(shipped) or 'none'}; others are named by the path of their file"
        )
    return path


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of named tensors: of their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(path: Path, weights: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write weights atomically, with a record of what they are, which becomes JSON; their `sha256` is added to it.

    Raises:
        OSError: the file cannot be written.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    metadata = {"format": "pt", _KEY: json.dumps({**record, "sha256": fingerprint(stored)})}
    content = safetensors.torch.save(stored, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def read(path: str | Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file under the key `model`, with its record's keys where it has one.

    Raises:
        UserError: there is no such file, it is damaged, or its tensors are not those that its record was written for.
    """
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
