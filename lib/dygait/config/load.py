"""Loading a configuration: read, merge and check files and overrides, and report all problems at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dygait import untrusted
from dygait.config import custom_imports, data_paths
from dygait.config.opengait_keys import translate
from dygait.config.schema import Config
from dygait.config_problems import Problem, validation_problems
from dygait.errors import UserError
from dygait.files import write_atomically

Check = Callable[[Mapping[str, Any]], list[Problem]]
Layer = tuple[str, dict[str, Any]]
"""The name of a file or an override, and its content."""

# Mappings that are replaced instead of merged if they name another component: Adam must not get SGD's momentum.
_COMPONENT_KEYS = {
    ("model_cfg",): "model",
    ("optimizer_cfg",): "solver",
    ("scheduler_cfg",): "scheduler",
    ("evaluator_cfg", "protocol"): "name",
}

_MAX_FILE_SIZE = 2**20
_MAX_VALUES = 100_000
_MAX_BASES = 20
"""Limits for untrusted files, far above the needs of an experiment."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that `1e-4` is a number, and a duplicate key with another value is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            # One of OpenGait's files repeats `dataset_name`, with the same value.
            if key in seen and not (isinstance(value_node, yaml.ScalarNode) and seen[key] == value_node.value):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is duplicate", key_node.start_mark
                )
            seen[key] = value_node.value
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def configs_folder() -> Path:
    """Return the folder of the shipped configurations, in the installed package or the source tree."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "default.yaml").is_file():
            return folder
    raise AssertionError("configs/default.yaml is not beside the package")


def _parse(text: str) -> Any:
    """Parse YAML to plain values.

    Raises:
        ValueError: it is invalid, or its anchors expand to too many values.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded_size(node, {}) > _MAX_VALUES:
            raise ValueError(f"it expands to more than {_MAX_VALUES} values")
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:  # a value that does not match its tag
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _expanded_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of values that a node expands to, each counted as often as aliases refer to it."""
    if id(node) not in sizes:
        sizes[id(node)] = 1 + sum(_expanded_size(child, sizes) for child in _children(node))
    return sizes[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    if isinstance(node, yaml.ScalarNode):
        node.value.encode()  # half of a surrogate pair cannot be encoded
        return []
    return list(node.value)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file; UserError if it cannot be read, or does not hold a mapping."""
    try:
        text = untrusted.read_bytes(path, _MAX_FILE_SIZE).decode()
    except FileNotFoundError:
        shipped = configs_folder() / path.name
        hint = f"; did you mean {shipped}?" if shipped.is_file() else ""
        raise UserError(f"no such configuration file: {path}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the configuration file {path} cannot be read: {error}") from None
    try:
        content = _parse(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a mapping of keys (of an experiment: data_cfg, model_cfg, ...)")
    return content


def merge(base: Any, over: Any) -> Any:
    """Merge `over` into `base`: mappings are merged key by key, other values replaced.

    A mapping whose keys are indices of a list (`--set loss_cfg.0.margin=0.3`) is merged into those entries of the list.
    """
    if isinstance(base, list) and isinstance(over, dict) and over:
        entries = {str(index): entry for index, entry in enumerate(base)}
        return [*merge(entries, over).values()] if over.keys() <= entries.keys() else over
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}
    return over


def merge_sections(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two configurations; a different model, optimiser, scheduler or protocol replaces that of `base`."""
    for path, key in _COMPONENT_KEYS.items():
        old, new = untrusted.at(base, *path), untrusted.at(over, *path)
        if isinstance(old, dict) and isinstance(new, dict) and new.get(key, old.get(key)) != old.get(key):
            base = _without(base, path)
    return merge(base, over)


def _without(content: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return nested mappings without the key at a path."""
    key, *rest = path
    if rest:
        return {**content, key: _without(content[key], tuple(rest))}
    return {name: value for name, value in content.items() if name != key}


def parse_override(text: str) -> dict[str, Any]:
    """Parse `a.b=c` to `{"a": {"b": c}}`; the value is YAML."""
    path, separator, value = text.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise UserError(f"--set {text}: write section.key=value")
    try:
        result = _parse(value)
    except ValueError as error:
        raise UserError(f"--set {text}: the value is not valid YAML: {error}") from None
    for key in reversed(keys):
        result = {key: result}
    return result


def read_with_bases(path: Path, seen: tuple[Path, ...] = ()) -> list[Layer]:
    """Read a file and, before it, the files that its `base` refers to, relative to the file."""
    resolved = path.resolve()
    if resolved in seen:
        raise UserError(f"{path}: its `base` is circular")
    if len(seen) == _MAX_BASES:
        raise UserError(f"{path}: a chain of more than {_MAX_BASES} files by `base`")
    content = read_yaml(path)
    content = custom_imports.resolve_paths(content, resolved.parent)
    base = content.pop("base", None)
    if base is None:
        return [(str(path), content)]
    if not isinstance(base, str) or "\0" in base:
        raise UserError(f"{path}: base must be the path of another YAML file")
    return [*read_with_bases(path.parent / base, (*seen, resolved)), (str(path), content)]


def _nested_keys(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of each key, also of nested mappings and lists."""
    items = enumerate(content) if isinstance(content, list) else content.items() if isinstance(content, dict) else ()
    for key, value in items:
        key_path = (*path, str(key))
        yield key_path, value
        yield from _nested_keys(value, key_path)


def _origins(layers: Sequence[Layer]) -> dict[tuple[str, ...], str]:
    """Return a mapping from the path of each key to the name of the last layer that sets it."""
    origins: dict[tuple[str, ...], str] = {}
    for name, content in layers:
        loss = content.get("loss_cfg")
        if isinstance(loss, dict) and not all(key.isdigit() for key in map(str, loss)):
            content = {**content, "loss_cfg": [loss]}
        keys = dict(_nested_keys(content))
        lists = {path for path, value in keys.items() if isinstance(value, list)}  # replace earlier ones
        earlier = {p: origin for p, origin in origins.items() if not any(p[:d] in lists for d in range(len(p)))}
        origins = earlier | dict.fromkeys(keys, name)
    return origins


def _origin(layers: Sequence[Layer], path: tuple[str, ...]) -> str:
    """Return the name of the last layer that sets a key or, if it is missing, the mapping that would contain it."""
    origins = _origins(layers)
    origin = next((origins[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in origins), None)
    return origin or next(name for name, _ in reversed(layers) if not name.startswith("--set"))


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    checks: Sequence[Check] = (),
    warn: Callable[[str], None] = lambda message: None,
) -> Config:
    """Read, merge and check a configuration.

    Args:
        path: the YAML file; its `base` key may name another, relative to it.
        overrides: `section.key=value` strings, applied last.
        checks: additional checks of the merged mapping.
        warn: called with a message for every key without effect, every path that is resolved outside the working
            directory, and every Python file that is executed.

    Raises:
        UserError: the file cannot be read or is invalid; the message lists all problems, with file, key and fix.
    """
    default = configs_folder() / "default.yaml"
    layers = [(str(default), read_yaml(default))]
    path_warnings: list[tuple[str, data_paths.KeyWarning]] = []
    for name, content in read_with_bases(Path(path)):
        content, warnings = data_paths.resolve_data_paths(content, Path(name))
        layers.append((name, content))
        path_warnings += [(name, warning) for warning in warnings]
    layers += [(f"--set {text}", custom_imports.resolve_paths(parse_override(text), Path.cwd())) for text in overrides]
    merged: dict[str, Any] = {}
    for _, layer in layers:
        merged = merge_sections(merged, layer)
    if isinstance(merged.get("loss_cfg"), dict):
        merged["loss_cfg"] = [merged["loss_cfg"]]
    for name, (path_of_key, message) in path_warnings:
        if _origin(layers, path_of_key) == name:  # otherwise another layer replaces the value
            warn(f"{name}: {'.'.join(path_of_key)} {message}")
    merged, key_warnings = translate(merged)
    for path_of_key, message in key_warnings:
        warn(f"{_origin(layers, path_of_key)}: {'.'.join(path_of_key)} {message}")
    files = merged.get(custom_imports.KEY)
    for file in files if isinstance(files, list) else []:
        if isinstance(file, str):
            warn(f"{_origin(layers, (custom_imports.KEY,))}: {custom_imports.KEY} executes the code of {file}")
            custom_imports.import_file(Path(file))
    problems: list[Problem] = []
    config = None
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        problems += validation_problems(error, Config)
    for check in checks:
        problems += check(merged)
    if problems or config is None:
        raise UserError(_format_problems(layers, problems))
    return config


def _format_problems(layers: Sequence[Layer], problems: Sequence[Problem]) -> str:
    """Return a line for each problem: the file or override, the key, and the message."""
    lines = []
    for path, message in problems:
        origin, key = _origin(layers, path), ".".join(path)
        # A problem of several sections has no key, and the name of an override contains it.
        shown_key = [] if not key or origin.startswith(f"--set {key}=") else [key]
        lines.append(": ".join([origin, *shown_key, message]))
    lines = list(dict.fromkeys(lines))
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} problems in the configuration:", *lines])


def save_config(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML."""
    write_atomically(path, yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
