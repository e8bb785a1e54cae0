"""Building a segmenter from its name in the registry, or from a YAML file with its keywords."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dygait.config.custom_imports import KEY, import_file, resolve_paths
from dygait.config.load import read_yaml
from dygait.config_problems import SettingsError
from dygait.errors import UserError
from dygait.video.segmenters import SEGMENTERS, Segmenter


def build_segmenter(named: str, **keywords: Any) -> Segmenter:
    """Build a segmenter.

    Args:
        named: a name in the registry, or a YAML file with the key `segmenter`, the segmenter's keywords, and
            `custom_imports`, Python files that register segmenters.
        keywords: more keywords, which have precedence; those that are None are ignored.

    Raises:
        UserError: no such name or file, or an invalid keyword.
    """
    is_file = named.endswith((".yaml", ".yml"))
    spec = _read_spec(Path(named)) if is_file else {SEGMENTERS.key: SEGMENTERS.resolve(named)}
    spec.update({key: value for key, value in keywords.items() if value is not None})
    try:
        return SEGMENTERS.build(spec)
    except SettingsError as error:
        raise UserError(f"{named}: {error}") from None


def _read_spec(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file, and import the Python files of its `custom_imports`."""
    content = resolve_paths(read_yaml(path), path.parent)
    for file in content.pop(KEY, []):
        import_file(Path(file))
    return content
