"""Damaged files and altered structures for fuzz tests, and a time limit.

By default 25 cases of each test, always the same; with `DYGAIT_FAULTS=long` in the environment 2,500 random ones.
"""

import contextlib
import copy
import functools
import os
import signal
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = os.environ.get("DYGAIT_FAULTS") == "long"

cases = settings(
    max_examples=2500 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

SECONDS = 10
"""The time limit for reading a hostile file of a few kB, generous for a busy machine."""


class Hang(BaseException):
    """The time limit has passed; not an `Exception`, because readers report those as a damaged file."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Raise `Hang` in a `with` block that takes too long."""

    def expired(number: int, frame: FrameType | None) -> None:
        raise Hang

    previous_handler = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes] = (), most: int = 4) -> bytes:
    """A valid file with up to `most` damages: bytes flipped, cut off, deleted, repeated, inserted or spliced."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, most))):
        position = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["cut", "flip", "insert", "delete", "repeat", "splice", "word", "number"]))
        if kind == "cut":
            del content[position:]
        elif kind == "flip" and position < len(content):
            content[position] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[position:position] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "delete":
            del content[position : position + draw(st.integers(1, 40))]
        elif kind == "repeat":
            content[position:position] = content[position : position + draw(st.integers(1, 60))]
        elif kind == "splice":
            other = draw(st.sampled_from(seeds))
            content[position:] = other[draw(st.integers(0, len(other))) :]
        elif kind == "word" and words:
            content[position:position] = draw(st.sampled_from(words))
        elif kind == "number":  # a wrong size or offset
            value = draw(st.sampled_from([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1]))
            width = draw(st.sampled_from([2, 4, 8]))
            content[position : position + width] = (value % 256**width).to_bytes(width, "little")
    return bytes(content)


NAMES = [
    "", ".", "..", "../up", "/etc", "a/b", "a\\b", "C:x", "CON", "a" * 300, "\0", "\n", "\x1b[2J", "\ud800", "\u202e",
    "<script>", "]]>", "' \"", "=1+1", "nul\0l", "ﷺ", "true", "None", "1e999", "nan", "~", "%s", "{}", "000", "001",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, 1e-308, float("inf"), float("nan"),
]  # fmt: skip
ATOMS = st.one_of(
    st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(NAMES), st.integers(-3, 9), st.text(max_size=6)
)
ANYTHING = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=3)), inner, max_size=3),
    ),
    max_leaves=8,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:6]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _altered_value(value: Any, kind: str, new: Any, key: str) -> Any:
    if kind == "wrap":
        return [value]
    if kind == "remove" and isinstance(value, dict) and value:
        return {key: value[key] for key in [*value][1:]}
    if kind == "remove" and isinstance(value, list) and value:
        return value[1:]
    if kind == "add" and isinstance(value, dict):
        return {**value, key: new}
    if kind == "add" and isinstance(value, list):
        return [*value, new]
    return new


@st.composite
def altered(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """A structure in which up to `most` values are replaced, removed, added or wrapped in a list."""
    for _ in range(draw(st.integers(1, most))):
        value = copy.deepcopy(value)
        path = draw(st.sampled_from(list(_paths(value))))
        kind = draw(st.sampled_from(["replace", "replace", "remove", "add", "wrap"]))
        replacement, key = draw(ANYTHING), draw(st.sampled_from(NAMES))
        if not path:
            value = _altered_value(value, kind, replacement, key)
            continue
        parent = functools.reduce(lambda inner, key: inner[key], path[:-1], value)
        parent[path[-1]] = _altered_value(parent[path[-1]], kind, replacement, key)
    return value
