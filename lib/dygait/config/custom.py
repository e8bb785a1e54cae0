"""A user's own files of code, which a configuration names: what they register can be named like what is built in."""

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


def beside(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration whose `custom_imports` are whole paths: relative ones start at `folder`."""
    named = content.get(KEY)
    if not isinstance(named, list):  # absent, or for the schema to refuse
        return dict(content)
    return {**content, KEY: [os.path.realpath(folder / n) if _is_path(n) else n for n in named]}


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and "\0" not in name


def run_file(path: Path) -> None:
    """Import a file, which registers what it defines; a file that has been imported is not imported again.

    Raises:
        UserError: there is no such file, or its code stops.
    """
    name = f"dygait_custom_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    # A name that is too long is no file either, and no error of the system's.
    if not os.path.isfile(path) or spec is None or spec.loader is None:  # noqa: PTH113
        raise UserError(f"{KEY}: {path} is no Python file; paths are relative to the YAML file that names them")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickle and dataclasses look for it there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{KEY}: {path} stops with {type(error).__name__}: {error}") from error
