"""Charts as inline SVG: drawn here, so that a page needs no script; coloured by the page's style, light or dark.

A chart is as wide as a phone (360 units), so that its words stay legible there. Series differ by colour and by the
pattern of their line; ``s0``, ``s1``, ... are the style's names for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dygait.reporting.markup import Html, join, tag

STYLES = 8
"""How many series can be told apart."""

_WIDTH, _HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38
# From light to dark, one hue, even steps of lightness.
_HEAT = np.array(
    [(247, 251, 255), (200, 221, 240), (139, 186, 219), (75, 141, 196), (24, 92, 160), (8, 48, 107)], float
)
_RAMP = np.array([(107, 79, 196), (42, 143, 140), (210, 128, 30)], float)


@dataclass(frozen=True)
class Axis:
    """An axis: its words, its range, and where it is marked.

    Attributes:
        label: what it shows.
        low: the number at its beginning.
        high: the number at its end.
        ticks: (number, words).
        log: whether it is logarithmic.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a number lies: 0 at the beginning, 1 at the end."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Series:
    """A line.

    Attributes:
        name: in the legend.
        x: numbers.
        y: numbers.
        style: a number below `STYLES`.
        spread: half the length of the bar at each point; None: no bars.
        notes: what a pointer on each point is told; None: points are not marked.
        area: fill what is below.
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    style: int
    spread: Sequence[float] | None = None
    notes: Sequence[str] | None = None
    area: bool = False


def linear_axis(label: str, low: float, high: float, count: int = 5) -> Axis:
    """Return an axis with round numbers that holds a range."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= min((m for m in (1, 2, 2.5, 5, 10) if (high - low) / (m * step) <= count), default=10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(
        0,
        -math.floor(math.log10(step) + 1e-9) + (1 if round(step / 10 ** math.floor(math.log10(step)), 3) == 2.5 else 0),
    )
    ticks = tuple((n * step, f"{n * step:.{decimals}f}") for n in range(first, last + 1))
    return Axis(label, first * step, last * step, ticks)


def percent_axis(label: str, lowest: float) -> Axis:
    """Return an axis of percentages that ends at 100 and begins at a round number below the lowest."""
    low = max(0.0, math.floor((lowest - 1e-9) / 10) * 10.0)
    low = low if low <= 90 else 90.0
    step = next(s for s in (2, 5, 10, 20, 25) if (100 - low) / s <= 5)
    first = math.ceil(low / step) * step
    return Axis(label, low, 100, tuple((float(v), str(v)) for v in range(first, 101, step)))


def rate_axis(label: str, low: float) -> Axis:
    """Return a logarithmic axis from a power of ten to 1."""
    first = math.floor(math.log10(low) + 1e-9)
    marks = {0: "1", -1: "0.1", -2: "0.01", -3: "0.001"}
    return Axis(label, 10.0**first, 1.0, tuple((10.0**n, marks.get(n, f"1e{n}")) for n in range(first, 1)), log=True)


def line_chart(
    key: str,
    title: str,
    description: str,
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    marks: Iterable[tuple[float, str]] = (),
) -> Html:
    """Draw lines.

    Args:
        key: of the elements' names, one of its own on the page.
        title: for those who do not see it.
        description: likewise.
        series: the lines.
        x: the axis below.
        y: the axis on the left.
        marks: upright lines: the number on the axis below, and words.
    """
    across, down = _scales(x, y)
    drawn: list[Html] = [_frame(x, y, across, down), *(_line(one, across, down) for one in series)]
    for value, words in marks:
        at = across(value)
        end = "end" if at > _WIDTH / 2 else "start"
        drawn.append(tag("line", x1=at, x2=at, y1=float(_TOP), y2=float(_HEIGHT - _BOTTOM), class_="mark"))
        drawn.append(
            tag("text", words, x=at + (-4 if end == "end" else 4), y=_TOP + 10.0, text_anchor=end, class_="note")
        )
    return _svg(key, title, description, drawn)


def _line(one: Series, across: Callable[[float], float], down: Callable[[float], float]) -> Html:
    kept = [n for n in range(len(one.x)) if math.isfinite(one.x[n]) and math.isfinite(one.y[n])]
    points = [(across(one.x[n]), down(one.y[n])) for n in kept]
    if not points:
        return Html("")
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    parts = []
    if one.area:
        floor = _HEIGHT - _BOTTOM
        parts.append(
            tag(
                "path", d=f"{path}L{points[-1][0]:.1f} {floor}L{points[0][0]:.1f} {floor}Z", class_=f"area s{one.style}"
            )
        )
    parts.append(tag("path", d=path, class_=f"line s{one.style}"))
    for n, (a, b) in zip(kept, points, strict=True):
        if one.spread is not None:
            top, bottom = down(one.y[n] + one.spread[n]), down(one.y[n] - one.spread[n])
            parts.append(tag("line", x1=a, x2=a, y1=top, y2=bottom, class_=f"bar s{one.style}"))
        if one.notes is not None:
            parts.append(tag("circle", tag("title", one.notes[n]), cx=a, cy=b, r=2.6, class_=f"dot s{one.style}"))
    return tag("g", *parts)


def scatter(
    key: str,
    title: str,
    description: str,
    points: np.ndarray,
    styles: Sequence[int],
    notes: Sequence[str],
    labels: Sequence[tuple[float, float, str]] = (),
    ramp: int = 0,
) -> Html:
    """Draw points without axes, of equal scale in both directions.

    Args:
        key: as `line_chart`.
        title: as `line_chart`.
        description: as `line_chart`.
        points: (n, 2).
        styles: n numbers below `STYLES`, or below `ramp`; each has a colour and a form.
        notes: n, what a pointer is told.
        labels: words on the picture, and where their middle is.
        ramp: where not 0, how many colours there are of a ramp.
    """
    low, high = points.min(0), points.max(0)
    side, margin = 340.0, 14.0
    scale = (side - 2 * margin) / max(float((high - low).max()), 1e-9)
    width, height = ((high - low) * scale + 2 * margin).tolist()

    def place(point: np.ndarray) -> tuple[float, float]:
        a, b = ((point - low) * scale + margin).tolist()
        return a + (_WIDTH - width) / 2, height - b

    drawn = [
        _point(style, ramp, *place(point), 3.2, note) for point, style, note in zip(points, styles, notes, strict=True)
    ]
    for a, b, words in labels:
        at = place(np.array([a, b]))
        drawn.append(tag("text", words, x=at[0], y=at[1] + 4, text_anchor="middle", class_="halo"))
    return _svg(key, title, description, drawn, math.ceil(height))


def _point(style: int, ramp: int, x: float, y: float, size: float, note: str | None = None) -> Html:
    colour = _hexadecimal(_mixed(_RAMP, style / (ramp - 1))) if ramp else None
    told = None if note is None else tag("title", note)
    return tag("path", told, d=_form(style, x, y, size), class_="point" if ramp else f"point s{style}", fill=colour)


def _form(style: int, x: float, y: float, r: float) -> str:
    """Return the path of a style's form: circle, square, triangle, diamond."""
    if style % 4 == 0:
        return f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
    corners = {
        1: ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
        2: ((0, -1.1), (1.1, 0.9), (-1.1, 0.9)),
        3: ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    }[style % 4]
    return "M" + "L".join(f"{x + r * a:.1f} {y + r * b:.1f}" for a, b in corners) + "Z"


def legend(names: Sequence[str], points: bool = False, styles: Sequence[int] | None = None, ramp: bool = False) -> Html:
    """Return a list of lines, or points, and what they stand for; `styles` and `ramp` as the chart has them."""
    items = []
    for place, name in enumerate(names):
        style = place if styles is None else styles[place]
        if points:
            sample = _point(style, len(names) if ramp else 0, 7.0, 6.0, 4.2)
        else:
            sample = tag("path", d="M0 6H24", class_=f"line s{style}")
        items.append(
            tag("li", tag("svg", sample, width=14 if points else 24, height=12, aria_hidden="true"), " ", name)
        )
    return tag("ul", *items, class_="legend")


def _scales(x: Axis, y: Axis) -> tuple[Callable[[float], float], Callable[[float], float]]:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return (lambda v: _LEFT + width * x.share(v)), (lambda v: _TOP + height * (1 - y.share(v)))


def _frame(x: Axis, y: Axis, across: Callable[[float], float], down: Callable[[float], float]) -> Html:
    bottom, right = float(_HEIGHT - _BOTTOM), float(_WIDTH - _RIGHT)
    parts = []
    for value, words in y.ticks:
        parts.append(tag("line", x1=float(_LEFT), x2=right, y1=down(value), y2=down(value), class_="grid"))
        parts.append(tag("text", words, x=_LEFT - 6.0, y=down(value) + 3.5, text_anchor="end"))
    for value, words in x.ticks:
        parts.append(tag("line", x1=across(value), x2=across(value), y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(tag("text", words, x=across(value), y=bottom + 15, text_anchor="middle"))
    parts.append(tag("line", x1=float(_LEFT), x2=right, y1=bottom, y2=bottom, class_="axis"))
    middle = (_TOP + bottom) / 2
    parts.append(tag("text", x.label, x=(_LEFT + right) / 2, y=_HEIGHT - 6.0, text_anchor="middle", class_="label"))
    parts.append(
        tag(
            "text",
            y.label,
            x=0,
            y=0,
            transform=f"translate(11 {middle:.0f}) rotate(-90)",
            text_anchor="middle",
            class_="label",
        )
    )
    return tag("g", *parts, aria_hidden="true")


def _svg(key: str, title: str, description: str, drawn: Sequence[Html], height: int = _HEIGHT) -> Html:
    return tag(
        "svg",
        tag("title", title, id=f"{key}-title"),
        tag("desc", description, id=f"{key}-desc"),
        join(*drawn),
        viewBox=f"0 0 {_WIDTH} {height}",
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
        class_="chart",
    )


def heat_colour(share: float) -> tuple[str, str]:
    """Return the colour of a cell, 0 light to 1 dark, and of what is written on it."""
    mixed = _mixed(_HEAT, share)
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mixed / 255]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Whichever contrasts more (WCAG 2).
    return _hexadecimal(mixed), "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"


def _mixed(colours: np.ndarray, share: float) -> np.ndarray:
    """Return a colour between some, 0 the first to 1 the last: (3,) of 0..255."""
    at = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    low = min(int(at), len(colours) - 2)
    return np.asarray(colours[low] + (at - low) * (colours[low + 1] - colours[low]))


def _hexadecimal(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(c)):02x}" for c in colour)
