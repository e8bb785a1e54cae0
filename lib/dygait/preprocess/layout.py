"""How a raw dataset names its pictures: patterns that turn a path into id, type, view and frame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

ARCHIVES = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_ARCHIVE_FOLDER = re.compile(r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))(?=/)", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)")


class Key(NamedTuple):
    """The name of a sequence."""

    id: str
    type: str
    view: str

    def __str__(self) -> str:
        return "/".join(self)


def in_order(text: str) -> tuple:
    """Return a key that sorts names by the numbers in them: f9 before f10."""
    pieces = _DIGITS.split(text)
    return tuple(int(piece) if at % 2 else piece for at, piece in enumerate(pieces)), text


@dataclass(frozen=True)
class Rule:
    """One form of path.

    Attributes:
        pattern: a regular expression for the end of a path, with named groups; archives in the path count as folders
            of their name without the ending. It has a group `frame`, the name by which frames are ordered.
        id: the id, a format string of the pattern's groups; so `type` and `view`.
        type: `{order}` in it is the place of the view, by name, among those of the same `together`.
        view: the view.
        together: what must be seen together to know `order`; left out, the sequence.
    """

    pattern: str
    id: str = "{id}"
    type: str = "{type}"
    view: str = "{view}"
    together: str = ""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled."""
        return re.compile(self.pattern)


@dataclass(frozen=True)
class Layout:
    """A raw dataset.

    Attributes:
        name: the dataset's name.
        rules: the forms of its pictures' paths; the first that fits counts.
        example: a path, for messages.
        ignored: a regular expression for paths (archives and folders too) that are left alone.
        normalised: the pictures are frames already: those of the wanted size are taken as they are.
    """

    name: str
    rules: tuple[Rule, ...]
    example: str
    ignored: str = field(default=r"(?!)")
    normalised: bool = False

    def ignores(self, path: str) -> bool:
        """Tell whether a path is known to be of no use: of another part of the dataset, or debris."""
        bare = _bare(path)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.split("/")[1:])
        return hidden or re.search(self.ignored, bare) is not None

    def group(self, path: str) -> str | None:
        """Return the name of what must be seen together with this picture; None for one that fits no rule."""
        found = self._match(path)
        return None if found is None else _together(path, *found)

    def slot(self, key: Key) -> str:
        """Return what can be taken only once: the sequence, or, where types are numbered, the id and the number."""
        fixed = {rule.type for rule in self.rules}
        numbered = any("{order}" in rule.type for rule in self.rules) and key.type not in fixed
        return f"{key.id}/{key.type}" if numbered else str(key)

    def arrange(self, paths: Iterable[str]) -> tuple[dict[Key, list[str]], list[str]]:
        """Sort pictures into sequences, and frames within a sequence by their numbers.

        Args:
            paths: all pictures of one or more whole groups.

        Returns:
            the sequences, sorted, and the paths that fit no rule or belong to another copy of a sequence.
        """
        unmatched: list[str] = []
        groups: dict[tuple[Rule, str], dict[str, list[tuple[dict[str, str], str]]]] = {}
        for path in paths:
            found = self._match(path)
            if found is None:
                unmatched.append(path)
                continue
            rule, words = found
            views = groups.setdefault((rule, _together(path, rule, words)), {})
            views.setdefault(rule.view.format(**words), []).append((words, path))
        sequences: dict[Key, list[str]] = {}
        for (rule, _), views in groups.items():
            for order, view in enumerate(sorted(views), 1):
                words = {**views[view][0][0], "order": f"{order:02d}"}
                key = Key(rule.id.format(**words), rule.type.format(**words), view)
                ordered = sorted(views[view], key=lambda found: (in_order(found[0]["frame"]), found[1]))
                names = [path for _, path in ordered]
                if sequences.setdefault(key, names) is not names:
                    unmatched += names
        return dict(sorted(sequences.items())), unmatched

    def _match(self, path: str) -> tuple[Rule, dict[str, str]] | None:
        bare = _bare(path)
        for rule in self.rules:
            match = rule.regex.search(bare)
            if match:
                return rule, match.groupdict()
        return None


def _together(path: str, rule: Rule, words: dict[str, str]) -> str:
    """Name what belongs together, and where it lies: copies in two places are two things."""
    name = rule.together or f"{rule.id}/{rule.type}/{rule.view}"
    return f"{name.format(**words)} in {path.rsplit('/', 2 if rule.together else 1)[0]}"


def _bare(path: str) -> str:
    return _ARCHIVE_FOLDER.sub("", path)
