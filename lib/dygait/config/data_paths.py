"""Relative paths of data: searched in the working directory, then in the folder of the YAML file and those above it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_FOLDERS = 3
"""The folder of the file and two above it, as for OpenGait's `configs/gaitset/gaitset_GREW.yaml`."""

_PATHS: dict[str, Callable[[str], bool]] = {"dataset_root": os.path.isdir, "dataset_partition": os.path.isfile}
"""The keys of `data_cfg` that are paths, each with a function that tests whether the path exists."""

KeyWarning = tuple[tuple[str, ...], str]
"""The path of a key, and a message about it."""


def resolve_data_paths(content: Mapping[str, Any], file: Path) -> tuple[dict[str, Any], list[KeyWarning]]:
    """Resolve the relative paths of data; return the configuration, and a warning for each path that was changed.

    Paths that exist in the working directory, or nowhere, are not changed.
    """
    section = content.get("data_cfg")
    if not isinstance(section, Mapping):  # absent, or invalid: reported by the schema
        return dict(content), []
    warnings: list[KeyWarning] = []
    folders = list(file.resolve().parents)[:_FOLDERS]

    def resolved(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(key, path) for path in value]
        if not isinstance(value, str) or os.path.isabs(value) or os.path.exists(value):  # noqa: PTH110, PTH117
            return value
        for folder in folders:
            path = os.path.normpath(folder / value)
            if _PATHS[key](path):
                warnings.append((("data_cfg", key), f"{value} is not in the working directory; using {path}"))
                return path
        return value

    changed = {key: resolved(key, section[key]) for key in _PATHS if key in section}
    return {**content, "data_cfg": {**section, **changed}}, warnings
