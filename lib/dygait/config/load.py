"""From files and overrides to one checked `Config`; all problems are reported at once, each with file and key path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dygait import untrusted
from dygait.config import custom, places
from dygait.config.foreign import translate
from dygait.config.schema import Config
from dygait.errors import UserError
from dygait.files import write_atomically
from dygait.registry import Problem, nested_keys, validation_problems

Check = Callable[[Mapping[str, Any]], list[Problem]]

# Sections in which naming another component starts afresh: a momentum of the default SGD must not leak into Adam.
_AFRESH = {"optimizer_cfg": "solver", "scheduler_cfg": "scheduler"}

_LARGEST_FILE = 2**20
_MOST_VALUES = 100_000
_MOST_BASES = 20
"""Far more than any experiment needs."""


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with two of its traps removed: `1e-4` is a number, and a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def configs_folder() -> Path:
    """Return the folder of the shipped configurations: of the source tree, or inside an installed package."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "default.yaml").is_file():
            return folder
    raise AssertionError("configs/default.yaml is not beside the package")


def _parse(text: str) -> Any:
    """Return what YAML text says, in plain values.

    Raises:
        ValueError: it is no YAML, or its anchors unfold to more than a configuration can need.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        untrusted.check_expansion(node, _inside, _MOST_VALUES)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:  # a value that its own tag cannot be
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.ScalarNode):
        node.value.encode()  # half of a surrogate pair can be written to no file
        return []
    return list(node.value)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML file that holds a mapping.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    try:
        text = untrusted.read_bytes(path, _LARGEST_FILE).decode()
    except FileNotFoundError:
        shipped = configs_folder() / path.name
        hint = f"; there is {shipped}" if shipped.is_file() else ""
        raise UserError(f"no such configuration file: {path}{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the configuration file {path} cannot be read: {error}") from None
    try:
        content = _parse(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no mapping of sections (data_cfg, model_cfg, ...)")
    return content


def merge(base: Any, over: Any) -> Any:
    """Return `base` with `over` on top: mappings key by key, anything else replaced whole.

    A mapping whose keys are positions of a list (`--set loss_cfg.0.margin=0.3`) changes those entries of it.
    """
    if (
        isinstance(base, list)
        and isinstance(over, dict)
        and over
        and all(k in map(str, range(len(base))) for k in over)
    ):
        return [merge(entry, over[str(place)]) if str(place) in over else entry for place, entry in enumerate(base)]
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            k: merge(base[k], over[k]) if k in base and k in over else over.get(k, base.get(k))
            for k in {**base, **over}
        }
    return over


def merge_sections(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge two whole configurations; an optimiser or scheduler of another name starts its section afresh."""
    base = dict(base)
    for section, key in _AFRESH.items():
        old, new = base.get(section), over.get(section)
        if isinstance(old, dict) and isinstance(new, dict) and new.get(key, old.get(key)) != old.get(key):
            del base[section]
    return merge(base, over)


def parse_override(text: str) -> dict[str, Any]:
    """Turn `a.b=c` into `{"a": {"b": c}}`; the value is read as YAML."""
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


def read_with_bases(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Read a file and what its `base` key names (relative to the file), the farthest first."""
    resolved = path.resolve()
    if resolved in seen:
        raise UserError(f"{path}: its `base` leads back to itself")
    if len(seen) == _MOST_BASES:
        raise UserError(f"{path}: more than {_MOST_BASES} files name each other by `base`")
    content = read_yaml(path)
    content = custom.beside(content, resolved.parent)
    base = content.pop("base", None)
    if base is None:
        return [(str(path), content)]
    if not isinstance(base, str) or "\0" in base:
        raise UserError(f"{path}: base must be the path of another YAML file")
    return [*read_with_bases(path.parent / base, (*seen, resolved)), (str(path), content)]


def _mentions(content: Any, path: tuple[str, ...]) -> bool:
    for place, part in enumerate(path):
        if path[:place] == ("loss_cfg",) and isinstance(content, dict) and part == "0":
            continue  # one loss without a list
        if isinstance(content, list) and part.isdigit() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, dict) and part in content:
            content = content[part]
        else:
            return False
    return True


def _replaces(content: Any, path: tuple[str, ...]) -> bool:
    """Tell whether a layer has a list (or one loss in its place) on the way to a key."""
    for place, part in enumerate(path):
        if path[:place] == ("loss_cfg",):
            return True
        if not isinstance(content, dict) or part not in content:
            return isinstance(content, list)
        content = content[part]
    return False


def _origin(layers: Sequence[tuple[str, dict[str, Any]]], path: tuple[str, ...]) -> str:
    """Return the name of the last layer that mentions the key, or of the file itself."""
    # A list replaces what earlier layers have in its place: they are not to blame for what is in it.
    first = max((place for place, (_, content) in enumerate(layers) if _replaces(content, path)), default=0)
    layers = layers[first:]
    for depth in range(len(path), 0, -1):
        for name, content in reversed(layers):
            if _mentions(content, path[:depth]):
                return name
    return next(name for name, _ in reversed(layers) if not name.startswith("--set"))


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
        checks: further checks of the merged mapping, whose problems are reported together with the schema's.
        warn: is called with one line for every key that has no effect here, every path that is found elsewhere, and
            every file of code that is run.

    Raises:
        UserError: the file cannot be read, or anything in it is wrong: all problems, each with file, key and remedy.
    """
    default = configs_folder() / "default.yaml"
    layers = [(str(default), read_yaml(default))]
    elsewhere: list[tuple[str, places.Said]] = []
    for name, content in read_with_bases(Path(path)):
        content, said = places.located(content, Path(name))
        layers.append((name, content))
        elsewhere += [(name, one) for one in said]
    layers += [(f"--set {text}", custom.beside(parse_override(text), Path.cwd())) for text in overrides]
    merged: dict[str, Any] = {}
    for _, layer in layers:
        merged = merge_sections(merged, layer)
    if isinstance(merged.get("loss_cfg"), dict):
        merged["loss_cfg"] = [merged["loss_cfg"]]
    for name, (place, what) in elsewhere:
        if _origin(layers, place) == name:  # else another value has replaced it
            warn(f"{name}: {'.'.join(place)} {what}")
    merged, translated = translate(merged)
    for place, what in translated:
        warn(f"{_origin(layers, place)}: {'.'.join(place)} {what}")
    named = merged.get(custom.KEY)
    for file in named if isinstance(named, list) else []:
        if isinstance(file, str):
            warn(f"{_origin(layers, (custom.KEY,))}: {custom.KEY} runs the code of {file}")
            custom.run_file(Path(file))
    problems: list[Problem] = []
    config = None
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        problems += validation_problems(error, lambda p: nested_keys(Config, p))
    for check in checks:
        problems += check(merged)
    if problems or config is None:
        raise UserError(_report(layers, problems))
    return config


def _report(layers: Sequence[tuple[str, dict[str, Any]]], problems: Sequence[Problem]) -> str:
    lines = list(dict.fromkeys(f"{_origin(layers, p.path)}: {'.'.join(p.path)}: {p.message}" for p in problems))
    if len(lines) == 1:
        return lines[0]
    return "\n  ".join([f"{len(lines)} problems in the configuration:", *lines])


def save_config(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML that `load_config` reads again."""
    write_atomically(path, yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True))
