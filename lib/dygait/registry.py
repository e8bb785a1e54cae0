"""A registry: names in a YAML file to the objects that they stand for.

A name is registered once, an unknown name lists the valid ones, and the keywords of a constructor are checked against
its signature, so that a misspelt setting is an error. Values that do not fit are found by the constructor, which raises
a ValueError whose message begins with the keyword: `channels: takes three numbers, got [1, 2]`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from dygait.errors import UserError

T = TypeVar("T")


class Problem(NamedTuple):
    """One thing that is wrong with a configuration: the key's path below the section, and what to do about it."""

    path: tuple[str, ...]
    message: str


class SettingsError(UserError):
    """Settings of a component that do not fit: `problems`, each with the path below the component."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(p.path)}: {p.message}" for p in problems))
        self.problems = list(problems)


@contextmanager
def below(*path: str) -> Iterator[None]:
    """Raise the SettingsError of a component that is built inside another with the path to it."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError([Problem((*path, *p.path), p.message) for p in error.problems]) from None


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the valid name that is nearest to `name`, or an empty string."""
    lowered = {v.lower(): v for v in reversed(list(valid))}  # of names that differ in case alone, the first
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
            message = f"{item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"
            message = message.removeprefix("value error, ")
        problems.append(Problem(path, message))
    return problems


def parameters_of(target: Callable[..., Any], skip: Iterable[str] = ()) -> type[BaseModel]:
    """Build a strict pydantic model of a callable's keyword parameters, from its signature and annotations."""
    function = target.__init__ if inspect.isclass(target) else target
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if name in skip or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    config = ConfigDict(
        extra="forbid", strict=True, arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
    )
    return create_model(getattr(target, "__name__", "parameters"), __config__=config, **fields)


class Registry(Generic[T]):
    """Names, and the classes or objects that they stand for.

    Args:
        kind: what is registered, in the singular, for messages: `model`, `loss`.
        key: the key of a YAML mapping that holds the name: `type`, `model`.
    """

    def __init__(self, kind: str, key: str = "type") -> None:
        self.kind = kind
        self.key = key
        self._entries: dict[str, T] = {}
        self._aliases: dict[str, str] = {}

    def add(self, name: str, entry: T, aliases: Iterable[str] = ()) -> T:
        """Register `entry` under a name and its aliases; a name that is taken raises ValueError."""
        for taken in (name, *aliases):
            if taken in self._entries or taken in self._aliases:
                raise ValueError(f"the {self.kind} {taken!r} is registered twice")
        self._entries[name] = entry
        self._aliases.update(dict.fromkeys(aliases, name))
        return entry

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Return a decorator that registers a class under a name and its aliases."""
        return lambda entry: self.add(name, entry, aliases)

    def names(self) -> list[str]:
        """Return the registered names, sorted, without aliases."""
        return sorted(self._entries)

    def resolve(self, name: str) -> str:
        """Return the registered name that a name or an alias stands for; an unknown one raises UserError."""
        resolved = self._aliases.get(name, name)
        if resolved in self._entries:
            return resolved
        valid = ", ".join(self.names())
        hint = suggest(name, [*self._entries, *self._aliases])
        raise UserError(f"unknown {self.kind} {name!r}{hint} (valid: {valid})")

    def get(self, name: str) -> T:
        """Return the entry of a name or an alias; an unknown one raises UserError that lists the valid names."""
        return self._entries[self.resolve(name)]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def build(self, spec: Mapping[str, Any], **extra: Any) -> Any:
        """Build what a YAML mapping names, with its other keys as keywords.

        Raises:
            SettingsError: the name is unknown, or keywords do not fit.
        """
        entry = self._entry(spec.get(self.key))
        keywords = {**{k: v for k, v in spec.items() if k != self.key}, **extra}
        schema = parameters_of(entry)
        try:
            schema.model_validate(keywords)
        except ValidationError as error:
            raise SettingsError(validation_problems(error, schema, [self.key])) from None
        try:
            return entry(**keywords)
        except SettingsError:
            raise
        except ValueError as error:
            raise SettingsError([self.problem(spec[self.key], str(error))]) from error

    def problem(self, name: str, message: str, other_keys: Sequence[str] = ()) -> Problem:
        """Return the problem that an error of a component names: at the key that its message begins with, if any.

        `other_keys` are keys of the mapping that are not the constructor's keywords.
        """
        key, _, rest = message.partition(": ")
        path = tuple(key.split("."))
        if path[0] in (*parameters_of(self._entry(name)).model_fields, *other_keys):
            return Problem(path, rest)
        return Problem((self.key,), f"{name}: {message}")

    def check(self, spec: Mapping[str, Any]) -> list[Problem]:
        """Build what a YAML mapping names, and return what does not fit."""
        try:
            self.build(spec)
        except SettingsError as error:
            return error.problems
        return []

    def _entry(self, name: Any) -> Callable[..., Any]:
        if not isinstance(name, str):
            raise SettingsError([Problem((self.key,), f"name the {self.kind}: one of {', '.join(self.names())}")])
        try:
            entry = self.get(name)
        except UserError as error:
            raise SettingsError([Problem((self.key,), str(error))]) from None
        assert callable(entry)
        return entry


def nested_keys(schema: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Return the valid keys of the mapping at `path` inside a pydantic model, following nested models."""
    current: Any = schema
    for part in path:
        if part not in _keys(current):
            continue  # list positions and union branches carry no keys of their own
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
