"""Problems of a configuration: the key, the nearest valid name (`did you mean`), the remedy.

`dygait.config.load` lists the problems of a file; a component's are those of its constructor (`dygait.registry`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, get_args, get_type_hints

from pydantic import BaseModel, ValidationError

from dygait.errors import UserError


class Problem(NamedTuple):
    """A problem of a configuration: the path of the key below the section, and a message with the remedy."""

    path: tuple[str, ...]
    message: str


class SettingsError(UserError):
    """Settings of a component that do not fit: `problems`, each with the path below the component."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(": ".join(filter(None, (".".join(p.path), p.message))) for p in problems))
        self.problems = list(problems)


@contextmanager
def below(*path: str) -> Iterator[None]:
    """Prepend a path to the problems of a component that is built inside another."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError([Problem((*path, *p.path), p.message) for p in error.problems]) from None


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the valid name that is nearest to `name`, or an empty string."""
    lowered = {v.lower(): v for v in reversed(list(valid))}  # of names that differ only in case, the first
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[near[0]]!r}?" if near else ""


def validation_problems(
    error: ValidationError, schema: type[BaseModel], other_keys: Sequence[str] = ()
) -> list[Problem]:
    """Convert pydantic's errors to problems; `other_keys` of the outermost mapping are valid too, for suggestions."""
    problems = []
    for item in error.errors():
        path = tuple(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            valid = sorted([*nested_keys(schema, path[:-1]), *(other_keys if len(path) == 1 else ())])
            hint = suggest(path[-1], valid) or f"; valid keys: {', '.join(valid)}"
            message = f"unknown key{hint}"
        elif item["type"] == "missing":
            message = "this key is required"
        else:
            message = f"{item['msg'][0].lower()}{item['msg'][1:]}".removeprefix("value error, ")
            if not (item["type"] == "value_error" and isinstance(item["input"], (dict, BaseModel))):  # a whole section
                message += f", got {item['input']!r}"
        problems.append(Problem(path, message))
    return problems


def nested_keys(schema: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Return the valid keys of the mapping at `path` inside a pydantic model, following nested models."""
    current: Any = schema
    for part in path:
        if part not in _keys(current):
            continue  # list indices and union branches have no keys
        annotation = (
            current.model_fields[part].annotation if hasattr(current, "model_fields") else get_type_hints(current)[part]
        )
        candidates = [annotation, *get_args(annotation)]
        candidates += [inner for outer in candidates for inner in get_args(outer)]
        current = next((c for c in candidates if _keys(c)), current)
    return _keys(current)


def _keys(mapping: Any) -> list[str]:
    """Return the keys of a pydantic model or of a TypedDict; none of anything else."""
    fields = getattr(mapping, "model_fields", None)
    if fields is not None:
        return list(fields)
    return [*getattr(mapping, "__required_keys__", ()), *getattr(mapping, "__optional_keys__", ())]
