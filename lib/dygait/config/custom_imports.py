"""`custom_imports`: Python files of the user that register models, losses, transforms and samplers."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dygait.errors import UserError

KEY = "custom_imports"


def resolve_paths(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make the paths of `custom_imports` absolute; relative ones start at `folder`."""
    files = content.get(KEY)
    if not isinstance(files, list):  # absent, or invalid: reported by the schema
        return dict(content)
    return {**content, KEY: [os.path.realpath(folder / name) if _is_path(name) else name for name in files]}


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and "\0" not in name


def import_file(path: Path) -> None:
    """Import a file once, so that it registers what it defines; UserError if it is missing or raises an exception."""
    name = f"dygait_custom_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    # os.path.isfile, since Path.is_file raises an OSError if a name is too long.
    if not os.path.isfile(path) or spec is None or spec.loader is None:  # noqa: PTH113
        raise UserError(f"{KEY}: {path} is not a Python file; paths are relative to the YAML file that names them")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # required by pickle and dataclasses
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{KEY}: {path} raises {type(error).__name__}: {error}") from error
