"""A registry: a mapping of names in YAML files to classes or objects.

A name is registered once, an unknown name lists the valid ones, and the keywords of a constructor are checked against
its signature, so that a misspelt setting is an error. Values that do not fit are found by the constructor, which raises
a ValueError whose message begins with the keyword: `channels: takes three numbers, got [1, 2]`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from dygait.config_problems import Problem, SettingsError, suggest, validation_problems
from dygait.errors import UserError

T = TypeVar("T")


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
    """A mapping of names to classes or objects.

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
        """Return the registered name of a name or an alias; an unknown one raises UserError."""
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
        """Build the component that a YAML mapping names, with its other keys as keywords.

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
        """Return the error of a component as a problem, at the key that the message begins with, if any.

        `other_keys` are keys of the mapping that are not the constructor's keywords.
        """
        key, _, rest = message.partition(": ")
        path = tuple(key.split("."))
        if path[0] in (*parameters_of(self._entry(name)).model_fields, *other_keys):
            return Problem(path, rest)
        return Problem((self.key,), f"{name}: {message}")

    def check(self, spec: Mapping[str, Any]) -> list[Problem]:
        """Build the component that a YAML mapping names, and return the problems."""
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
