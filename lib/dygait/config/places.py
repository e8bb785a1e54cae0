"""Where a configuration's data are: paths that lead nowhere from the working directory, but do from above its file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_ABOVE = 3
"""The file's own folder and two above it: `configs/gaitset/gaitset_GREW.yaml` lies two below its repository."""

_PATHS: dict[str, Callable[[str], bool]] = {"dataset_root": os.path.isdir, "dataset_partition": os.path.isfile}
"""The keys of `data_cfg` that are paths, and what tells that something is there."""

Said = tuple[tuple[str, ...], str]
"""A key's path, and the rest of a sentence about it."""


def located(content: Mapping[str, Any], file: Path) -> tuple[dict[str, Any], list[Said]]:
    """Return a configuration whose data are found, and what is to be said about it.

    A relative path is looked for from the working directory, then from the folder of the file that says it and from
    those above; the first that is there is taken. One that is nowhere stays as it is.

    Args:
        content: what the file says.
        file: the YAML file.
    """
    section = content.get("data_cfg")
    if not isinstance(section, Mapping):  # absent, or for the schema to refuse
        return dict(content), []
    said: list[Said] = []
    folders = list(file.resolve().parents)[:_ABOVE]

    def found(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [found(key, one) for one in value]
        if not isinstance(value, str) or os.path.isabs(value) or os.path.exists(value):  # noqa: PTH110, PTH117
            return value
        for folder in folders:
            path = os.path.normpath(folder / value)
            if _PATHS[key](path):
                said.append((("data_cfg", key), f"{value} is not in the working directory, and read from {path}"))
                return path
        return value

    changed = {key: found(key, section[key]) for key in _PATHS if key in section}
    return {**content, "data_cfg": {**section, **changed}}, said
