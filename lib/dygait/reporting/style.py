"""The page's style: `style.css`, and the colours and patterns of series."""

from __future__ import annotations

from pathlib import Path

_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "4 2", "1 2", "12 3", "6 2 1 2")

SERIES = "".join(
    f".line.s{n} {{ stroke: var(--c{n}); stroke-dasharray: {dash or 'none'}; }} .bar.s{n} {{ stroke: var(--c{n}); }} "
    f".area.s{n}, .dot.s{n}, .point.s{n} {{ fill: var(--c{n}); }}\n"
    for n, dash in enumerate(_DASHES)
)
"""A colour and a pattern for each series: colours alone are not the same to everyone."""


def style() -> str:
    """Return the whole style sheet."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8") + SERIES
