"""The content and layout of charts; `templates/charts.html` renders them as inline SVG, without a script.

A chart has the width of a phone (360 units), so that its text is legible there. Series differ in colour and dash
pattern; ``s0``, ``s1``, ... are their classes in `templates/style.css`, which has the colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

STYLES = 8
"""Number of distinguishable series."""
_INTERVALS = 5
"""The approximate number of intervals between the ticks of a linear axis."""

# A single hue from light to dark, in even steps of lightness.
_HEAT = np.array(
    [(247, 251, 255), (200, 221, 240), (139, 186, 219), (75, 141, 196), (24, 92, 160), (8, 48, 107)], float
)
_RAMP = np.array([(107, 79, 196), (42, 143, 140), (210, 128, 30)], float)


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]  # value and label of each
    log: bool = False

    def share(self, value: float) -> float:
        """Return the relative position of a value: 0 at the start, 1 at the end."""
        if self.log:
            return (math.log10(value) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Series:
    """A line."""

    name: str  # in the legend
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    style: int  # an index below `STYLES`
    spread: Sequence[float] | None = None  # half the length of the error bar of each point; None for no bars
    notes: Sequence[str] | None = None  # the tooltip of each point; None for no markers
    area: bool = False  # fill the area below the line


def linear_axis(label: str, low: float, high: float) -> Axis:
    """Return an axis with round ticks that covers a range."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / _INTERVALS))
    step *= min((m for m in (1, 2, 2.5, 5, 10) if (high - low) / (m * step) <= _INTERVALS), default=10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    exponent = math.floor(math.log10(step) + 1e-9)
    decimals = max(0, -exponent + (round(step / 10.0**exponent, 3) == 2.5))
    ticks = tuple((n * step, f"{n * step:.{decimals}f}") for n in range(first, last + 1))
    return Axis(label, first * step, last * step, ticks)


def percent_axis(label: str, lowest: float) -> Axis:
    """Return an axis of percentages that starts at a round value below the lowest and ends at 100."""
    low = max(0.0, math.floor((lowest - 1e-9) / 10) * 10.0)
    low = low if low <= 90 else 90.0
    step = next(s for s in (2, 5, 10, 20, 25) if (100 - low) / s <= 5)
    first = math.ceil(low / step) * step
    return Axis(label, low, 100, tuple((float(v), str(v)) for v in range(first, 101, step)))


def rate_axis(label: str, low: float) -> Axis:
    """Return a logarithmic axis from a power of ten to 1."""
    first = math.floor(math.log10(low) + 1e-9)
    labels = {0: "1", -1: "0.1", -2: "0.01", -3: "0.001"}
    return Axis(label, 10.0**first, 1.0, tuple((10.0**n, labels.get(n, f"1e{n}")) for n in range(first, 1)), log=True)


class Point(NamedTuple):
    """A point of a series: its index in the series, and its coordinates on the chart."""

    position: int
    x: float
    y: float


@dataclass(frozen=True)
class LineChart:
    """Lines over two axes."""

    description: str  # for screen readers
    series: Sequence[Series]
    x: Axis
    y: Axis
    marks: Sequence[tuple[float, str]] = ()  # vertical lines: x value and label
    legend: bool = True

    kind: ClassVar[str] = "lines"
    width: ClassVar[int] = 360
    height: ClassVar[int] = 250
    left: ClassVar[int] = 46
    right: ClassVar[int] = 350
    top: ClassVar[int] = 10
    bottom: ClassVar[int] = 212

    def x_of(self, value: float) -> float:
        """Return the coordinate of an x value."""
        return self.left + (self.right - self.left) * self.x.share(value)

    def y_of(self, value: float) -> float:
        """Return the coordinate of a y value."""
        return self.bottom - (self.bottom - self.top) * self.y.share(value)

    def points(self, series: Series) -> list[Point]:
        """Return the finite points of a line."""
        pairs = enumerate(zip(series.x, series.y, strict=True))
        return [Point(i, self.x_of(x), self.y_of(y)) for i, (x, y) in pairs if math.isfinite(x) and math.isfinite(y)]

    def path(self, series: Series) -> str:
        """Return a line as the data of an SVG path."""
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for _, x, y in self.points(series))


class Marker(NamedTuple):
    """A point of a scatter chart, or of its legend; either style or colour is set."""

    path: str  # the outline, as the data of an SVG path
    style: int | None  # an index below `STYLES`
    colour: str | None
    text: str  # the tooltip, or the name in the legend


@dataclass(frozen=True)
class Scatter:
    """Points without axes, with equal scales in both directions.

    Each class of points has a colour and a shape; more than `STYLES` classes are coloured by a colour map.
    """

    description: str  # for screen readers
    points: np.ndarray  # (n, 2)
    names: Sequence[str]  # of the classes
    kinds: Sequence[int]  # n indices into `names`
    notes: Sequence[str]  # n tooltips
    labels: Sequence[tuple[float, float, str]] = ()  # (x, y, text) on the chart

    kind: ClassVar[str] = "scatter"
    width: ClassVar[int] = 360
    legend: ClassVar[bool] = True
    _side: ClassVar[float] = 340.0
    _margin: ClassVar[float] = 14.0

    @property
    def height(self) -> int:
        """The height of the chart, which follows from the equal scales."""
        return math.ceil(self._scaled(self.points.max(0))[1] + 2 * self._margin)

    def markers(self) -> list[Marker]:
        """Return a marker for each point."""
        positions = map(self.position, self.points)
        return [self._marker(k, *at, 3.2, note) for k, at, note in zip(self.kinds, positions, self.notes, strict=True)]

    def legend_markers(self) -> list[Marker]:
        """Return a marker for each class."""
        return [self._marker(kind, 7.0, 6.0, 4.2, name) for kind, name in enumerate(self.names)]

    def position(self, point: Sequence[float] | np.ndarray) -> tuple[float, float]:
        """Return the coordinates of a point on the chart."""
        x, y = self._scaled(np.asarray(point))
        width, height = self._scaled(self.points.max(0))
        return x + (self.width - width) / 2, height + self._margin - y

    def _scaled(self, point: np.ndarray) -> tuple[float, float]:
        low, high = self.points.min(0), self.points.max(0)
        x, y = ((point - low) * (self._side - 2 * self._margin) / max(float((high - low).max()), 1e-9)).tolist()
        return x, y

    def _marker(self, kind: int, x: float, y: float, size: float, text: str) -> Marker:
        """Return a circle, square, triangle or diamond."""
        if kind % 4 == 0:
            path = f"M{x - size:.1f} {y:.1f}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0Z"
        else:
            corners = {
                1: ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
                2: ((0, -1.1), (1.1, 0.9), (-1.1, 0.9)),
                3: ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
            }[kind % 4]
            path = "M" + "L".join(f"{x + size * a:.1f} {y + size * b:.1f}" for a, b in corners) + "Z"
        if len(self.names) <= STYLES:
            return Marker(path, kind, None, text)
        return Marker(path, None, _hexadecimal(_interpolate(_RAMP, kind / (len(self.names) - 1))), text)


def heat_colour(share: float) -> tuple[str, str]:
    """Return background and text colour of a cell, 0 light to 1 dark."""
    colour = _interpolate(_HEAT, share)
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour / 255]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # The text colour with the higher contrast (WCAG 2).
    return _hexadecimal(colour), "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"


def _interpolate(colours: np.ndarray, share: float) -> np.ndarray:
    """Interpolate between colours, 0 the first to 1 the last: (3,) in 0..255."""
    steps = np.arange(len(colours))
    return np.array([np.interp(share * steps[-1], steps, channel) for channel in colours.T])


def _hexadecimal(colour: np.ndarray) -> str:
    return "#" + "".join(f"{round(float(c)):02x}" for c in colour)
