"""HTML and SVG as text, in which nothing that a dataset or a configuration brings along can become markup."""

from __future__ import annotations

import html
import re
from typing import Any

# Control characters, and those that turn the direction of writing, so that a name looks like another.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_WITHOUT_END = {"meta", "img", "br"}


class Html(str):
    """Text that is markup already; everything else is escaped."""

    __slots__ = ()


def text(value: object) -> Html:
    """Return a value as text of a page; markup stays what it is."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def join(*parts: object) -> Html:
    """Return parts in a row, each as `text`."""
    return Html("".join(text(part) for part in parts))


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """Return an element.

    Args:
        name: ``td``.
        children: its content, each as `text`; None is left out.
        attributes: ``class_`` and ``stroke_width`` stand for ``class`` and ``stroke-width``; None is left out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _WITHOUT_END:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{join(*(c for c in children if c is not None))}</{name}>")


def _short(value: object) -> object:
    """Coordinates need no more than two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
