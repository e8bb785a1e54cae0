"""The rules of a raw dataset: patterns that map the path of a picture to id, type, view and frame."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_SUFFIX = r"\.(zip|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz))"
_ARCHIVE = re.compile(f"{_SUFFIX}$", re.IGNORECASE)
_ARCHIVE_FOLDER = re.compile(f"{_SUFFIX}(?=/)", re.IGNORECASE)


class SequenceName(NamedTuple):
    """The name of a sequence."""

    id: str
    type: str
    view: str

    def __str__(self) -> str:
        return "/".join(self)


def is_archive(path: str) -> bool:
    """Return whether a path is that of an archive, by its suffix."""
    return _ARCHIVE.search(path) is not None


def natural_key(text: str) -> tuple:
    """Return a sort key that compares the numbers in names as numbers: f9 before f10."""
    pieces = re.split(r"(\d+)", text)
    return tuple(int(piece) if index % 2 else piece for index, piece in enumerate(pieces)), text


@dataclass(frozen=True)
class Rule:
    """One pattern of paths.

    Attributes:
        pattern: a regular expression for the end of a path, with named groups; archives in the path count as folders
            without the suffix. The group `frame` is the name by which frames are sorted.
        id: the id, a format string of the pattern's named groups.
        type: the type, likewise; `{order}` in it is the rank of the view, by name, among the views of a group.
        view: the view, likewise.
        group_format: a format string that names the group within which `order` counts; default: the sequence.
    """

    pattern: str
    id: str = "{id}"
    type: str = "{type}"
    view: str = "{view}"
    group_format: str = ""


@dataclass(frozen=True)
class Layout:
    """The layout of a raw dataset.

    Attributes:
        name: the dataset's name.
        rules: the patterns of its pictures' paths; the first that matches is used.
        example: a path, for error messages.
        ignored: a regular expression for paths (archives and folders too) that are skipped.
        normalised: whether pictures, or frames of pickles, of the requested size are used without normalisation.
        suffixes: of pictures, in lower case; `.pkl` is a pickle of all frames of a sequence.
        own: whether it is a tree of the user's own: there is a single input, masks are cleaned by default, and frames
            are numbered one after the other.
    """

    name: str
    rules: tuple[Rule, ...]
    example: str
    ignored: str = r"(?!)"
    normalised: bool = False
    suffixes: tuple[str, ...] = (".png",)
    own: bool = False

    def ignores(self, path: str) -> bool:
        """Return whether a path is to be skipped: another part of the dataset, or a hidden file."""
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.split("/")[1:])
        return hidden or re.search(self.ignored, _ARCHIVE_FOLDER.sub("", path)) is not None

    def is_picture(self, path: str) -> bool:
        """Return whether a path is that of a picture, by its suffix."""
        return path.lower().endswith(self.suffixes)

    def needs(self, path: str) -> bool:
        """Return whether a path is that of a picture or an archive that is not to be skipped."""
        return (self.is_picture(path) or is_archive(path)) and not self.ignores(path)

    def group(self, path: str) -> str | None:
        """Return the name of the group whose pictures must be read together; None for a picture that fits no rule."""
        match = self._match(path)
        return None if match is None else _group_name(path, *match)

    def output_name(self, key: SequenceName) -> str:
        """Return the name that only one source may write: the sequence, or id and type where types are numbered."""
        fixed = {rule.type for rule in self.rules}
        numbered = any("{order}" in rule.type for rule in self.rules) and key.type not in fixed
        return f"{key.id}/{key.type}" if numbered else str(key)

    def arrange(self, paths: Iterable[str]) -> tuple[dict[SequenceName, list[str]], list[str]]:
        """Arrange the pictures of whole groups by sequence, sorted, and the frames of a sequence by their numbers.

        The second result is the paths that match no rule or belong to another copy of a sequence.
        """
        unmatched: list[str] = []
        groups: dict[tuple[Rule, str], dict[str, list[tuple[dict[str, str], str]]]] = {}
        for path in paths:
            match = self._match(path)
            if match is None:
                unmatched.append(path)
                continue
            rule, fields = match
            views = groups.setdefault((rule, _group_name(path, rule, fields)), {})
            views.setdefault(rule.view.format(**fields), []).append((fields, path))
        sequences: dict[SequenceName, list[str]] = {}
        for (rule, _), views in groups.items():
            for order, view in enumerate(sorted(views), 1):
                fields = {**views[view][0][0], "order": f"{order:02d}"}
                key = SequenceName(rule.id.format(**fields), rule.type.format(**fields), view)
                ordered = sorted(views[view], key=lambda entry: (natural_key(entry[0]["frame"]), entry[1]))
                names = [path for _, path in ordered]
                if sequences.setdefault(key, names) is not names:
                    unmatched += names
        return dict(sorted(sequences.items())), unmatched

    def _match(self, path: str) -> tuple[Rule, dict[str, str]] | None:
        path_without_suffixes = _ARCHIVE_FOLDER.sub("", path)
        for rule in self.rules:
            match = re.search(rule.pattern, path_without_suffixes)
            if match:
                return rule, match.groupdict()
        return None


def _group_name(path: str, rule: Rule, fields: dict[str, str]) -> str:
    """Return the name of a picture's group, with its folder: copies in two folders are two groups."""
    name = rule.group_format or f"{rule.id}/{rule.type}/{rule.view}"
    return f"{name.format(**fields)} in {path.rsplit('/', 2 if rule.group_format else 1)[0]}"
