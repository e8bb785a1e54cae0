"""Fit the means of SynGait's walkers to the silhouettes of real people: `dygait.synthetic.real_people`.

    python scripts/fit_walkers.py --data DATA                              # bodies and gaits: CASIA-B's ids 001-049
    python scripts/fit_walkers.py --data DATA --fit clothes                # everyday ones, on the bodies that are there
    python scripts/fit_walkers.py --data DATA --people 001-074 --steps 6

For each view, two pictures are compared: the mean over all sequences of the mean of their frames, and of the standard
deviation over their frames. The means of all traits of body and gait (or of everyday clothes, of coats, or of bags),
and angle, distance and height of the camera of each view, are changed until SynGait's pictures are those of the real
people: damped Gauss-Newton, with derivatives by differences, for the same walkers at each step. A deviation of a
trait's mean by 1.5 standard deviations between people costs as much as an error of 0.05 in 20 pixels. The cameras are
fitted so that bodies do not have to explain them, and are not kept. Only means over all people are read from the data;
nothing of a single person is printed.

Printed are the error by view, before and after, and the shifts, as `real_people.py` has them.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common import ids_between, markdown_table, write_figures
from dygait.data.stores import open_store
from dygait.synthetic import cameras, real_people, walker
from dygait.synthetic.body import Physique
from dygait.synthetic.carried import BagSize
from dygait.synthetic.coats import Coat
from dygait.synthetic.gait_style import Style
from dygait.synthetic.settings import Settings, parse_address

PEOPLE = "people.within=2&people.calibrated=1&people.dimorphism=1"
WORLD = (
    "syngait://quick?seed=78&train_ids=30&test_ids=0&frames=36&people.walks=1,0,0&people.within=1.5&"
    "people.gait_variety=0.8&people.calibrated=1&people.dimorphism=1&people.children=0.04&people.old=0.08&"
    "people.heavy=0.08&people.impaired=0.02&wardrobe.outfits=5&wardrobe.coats=0.5&wardrobe.long_coats=0.3&"
    "wardrobe.open_coats=0.25&wardrobe.skirts=0.25&wardrobe.shorts=0.1&wardrobe.bare_arms=0.3&wardrobe.hats=0.1&"
    "wardrobe.heels=0.2&wardrobe.boots=0.12&wardrobe.hands=0.15"
)
WORLDS = {
    "bodies": WORLD,
    "clothes": "syngait://quick?seed=78&train_ids=40&test_ids=0&frames=36&people.walks=1,0,0&" + PEOPLE,
    "coats": "syngait://quick?seed=78&train_ids=40&test_ids=0&frames=36&people.walks=0,0,1&" + PEOPLE,
    "bags": "syngait://quick?seed=78&train_ids=60&test_ids=0&frames=36&people.walks=0,1,0&" + PEOPLE,
}
TYPES = {
    "bodies": ("nm-01", "nm-03"),
    "clothes": ("nm-01", "nm-03"),
    "coats": ("cl-01", "cl-02"),
    "bags": ("bg-01", "bg-02"),
}
FIXED = ("stature", "build", "stride_seconds", "leg_asymmetry", "leg_lag", "arm_asymmetry", "hair_knot")
"""Traits that the pictures do not tell, or whose mean is zero by symmetry."""
CAMERA = (5.0, 0.25, 0.5)
"""Prior standard deviations: degrees, logarithm of the distance, metres of height."""
EVERY = 3
ERROR, PIXELS = 0.05, 20
LARGEST, SMALL = 2.0, 0.1
DAMPINGS = (0.3, 1.0, 3.0, 10.0)
STEP = 0.3

CLOTHES = ("trouser_hem", "shirt_length", "shirt_width", "sleeve", "hair_top", "hair_back", "hair_length")
"""Traits of `Physique` that matter where nobody has an outfit (`wardrobe.outfits` is 0)."""


def names(kind: type[Any], but: Sequence[str] = ()) -> list[str]:
    """Return the traits of a kind that are fitted."""
    return [field.name for field in dataclasses.fields(kind) if field.name not in (*FIXED, *but)]


PARTS: dict[str, dict[str, tuple[type[Any], list[str]]]] = {
    "bodies": {"BODY": (Physique, names(Physique, CLOTHES)), "GAIT": (Style, names(Style))},
    "clothes": {"BODY": (Physique, list(CLOTHES))},
    "coats": {"COAT": (Coat, names(Coat))},
    "bags": {"BAG": (BagSize, names(BagSize))},
}
"""What can be fitted: a table of real_people.py, and the traits in it."""
POSITIONS = dict(cameras.POSITIONS)


def statistics(sequences: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean of the means and of the standard deviations over frames, (2, 64, 64), of uint8 (S, 64, 64)."""
    pictures = [np.stack([frames.mean(0), frames.std(0)]) for frames in (s.astype(np.float32) / 255 for s in sequences)]
    return np.mean(pictures, 0)


def real_statistics(root: str, people: str, types: Sequence[str], views: Sequence[str]) -> np.ndarray:
    """Return the statistics of real people, (V, 2, 64, 64)."""
    store = open_store(root)
    chosen = set(ids_between(people, store.table.ids.names))
    by_view: dict[str, list[int]] = {view: [] for view in views}
    for number, (subject, kind, view) in enumerate(store.table.all_keys()):
        if subject in chosen and kind in types and view in by_view:
            by_view[view].append(number)
    return np.stack([statistics(np.asarray(store.read(n)) for n in numbers) for numbers in by_view.values()])


class Walkers:
    """SynGait's walkers as a function of the parameters: of traits, then of cameras, in units of the prior."""

    def __init__(self, settings: Settings, tables: Mapping[str, tuple[type[Any], list[str]]]) -> None:
        self.settings, self.views = settings, settings.views
        self.traits = [
            (title, field.name, 1.5 * field.metadata["between"])
            for title, (kind, fitted) in tables.items()
            for field in dataclasses.fields(kind)
            if field.name in fitted
        ]
        fitted = [(title, name) for title, name, _ in self.traits]
        self.others = {
            title: {name: value for name, value in getattr(real_people, title).items() if (title, name) not in fitted}
            for title in tables
        }
        self.count = len(self.traits) + len(CAMERA) * len(self.views)

    def shifts(self, parameters: np.ndarray, least: float = 0.0) -> dict[str, dict[str, float]]:
        """Return the tables of the shifts, without fitted ones below `least` in units of the prior."""
        tables = {title: dict(table) for title, table in self.others.items()}
        for (title, name, scale), value in zip(self.traits, parameters.tolist(), strict=False):
            if abs(value) >= least:
                tables[title][name] = value * scale
        return tables

    def place(self, parameters: np.ndarray) -> None:
        """Set the means of traits, and the cameras."""
        for title, table in self.shifts(parameters).items():
            places = getattr(real_people, title)
            places.clear()
            places.update(table)
        shifts = parameters[len(self.traits) :].reshape(-1, len(CAMERA)) * CAMERA
        for view, (angle, distance, height) in zip(self.views, shifts.tolist(), strict=True):
            before = POSITIONS[view]
            cameras.POSITIONS[view] = (before[0] + angle, before[1] * np.exp(distance), before[2] + height)
        for cached in (cameras.camera, walker.draw_subject, walker.walk):
            cached.cache_clear()

    def statistics(self, parameters: np.ndarray) -> np.ndarray:
        """Return the statistics of the walkers, (V, 2, 64, 64)."""
        self.place(parameters)
        by_view: list[list[np.ndarray]] = [[] for _ in self.views]
        kind = self.settings.types[0]
        for subject in self.settings.subjects:
            figure = walker.walk(self.settings, subject, kind)
            frames = range(0, len(figure.centres), EVERY)
            for sequences, view in zip(by_view, self.views, strict=True):
                sequences.append(walker.render_frames(self.settings, subject, kind, view, figure, frames))
        return np.stack([statistics(sequences) for sequences in by_view])


def blurred(pictures: np.ndarray) -> np.ndarray:
    """Return slightly blurred pictures (..., 64, 64)."""
    flat = [cv2.GaussianBlur(picture, (0, 0), 0.8) for picture in pictures.reshape(-1, *pictures.shape[-2:])]
    return np.stack(flat).reshape(pictures.shape)


def weighted(errors: np.ndarray) -> np.ndarray:
    """Return errors of pictures (..., 64, 64) as a vector: slightly blurred, in units of the error that counts as 1."""
    return blurred(errors).ravel() / (ERROR * PIXELS**0.5)


class Fit:
    """Residuals of the walkers' statistics against those of real people."""

    def __init__(self, walkers: Walkers, real: np.ndarray) -> None:
        self.walkers, self.real = walkers, real

    def residuals(self, parameters: np.ndarray) -> np.ndarray:
        """Return the errors of the pictures, as :func:`weighted`."""
        return weighted(self.walkers.statistics(parameters) - self.real)

    def step(self, parameters: np.ndarray, pool: Any) -> np.ndarray:
        """Return better parameters, or the same if there are none near."""
        before = self.residuals(parameters)
        moved = parameters + STEP * np.eye(len(parameters))
        slopes = np.stack([(after - before) / STEP for after in pool.imap(self.residuals, moved)], 1)
        curvature, gradient = slopes.T @ slopes + np.eye(len(parameters)), slopes.T @ before + parameters
        choices = [parameters]
        for damping in DAMPINGS:
            change = np.linalg.solve(curvature + damping * np.eye(len(parameters)), gradient)
            choices.append(np.clip(parameters - change, -LARGEST, LARGEST))
        return min(zip(pool.map(self.cost, choices), range(len(choices)), choices, strict=True))[2]

    def cost(self, parameters: np.ndarray) -> float:
        """Return the sum of squared residuals, and of squared parameters."""
        return float((self.residuals(parameters) ** 2).sum() + (parameters**2).sum())


def as_text(shifts: dict[str, dict[str, float]]) -> str:
    """Return the shifts as `real_people.py` has them."""
    lines = []
    for title, table in shifts.items():
        lines.append(f"{title}: dict[str, float] = {{")
        lines.extend(f'    "{name}": {value:.2g},' for name, value in table.items())
        lines.append("}")
    return "\n".join(lines)


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DATA", help="CASIA-B, as pickles or packed")
    parser.add_argument("--people", default="001-049", metavar="FIRST-LAST", help="default: %(default)s")
    parser.add_argument("--fit", choices=PARTS, default="bodies", help="default: %(default)s, with gaits")
    parser.add_argument("--types", nargs="+", help="default: two without bag and coat, in coats, or with bags")
    parser.add_argument("--world", metavar="ADDRESS", help="the walkers (default: those of the weights)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="of Gauss-Newton (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()

    settings = parse_address(options.world or WORLDS[options.fit])
    walkers = Walkers(settings, PARTS[options.fit])
    real = real_statistics(options.data, options.people, options.types or TYPES[options.fit], settings.views)
    fit = Fit(walkers, real)
    parameters = np.zeros(walkers.count)
    costs = [fit.cost(parameters)]
    errors = [((walkers.statistics(parameters) - fit.real) ** 2).mean((2, 3))]
    with multiprocessing.Pool(options.processes) as pool:
        for number in range(1, options.steps + 1):
            parameters = fit.step(parameters, pool)
            costs.append(fit.cost(parameters))
            print(f"step {number}: cost {costs[-2]:.1f} -> {costs[-1]:.1f}", flush=True)
    errors.append(((walkers.statistics(parameters) - fit.real) ** 2).mean((2, 3)))
    cells = np.sqrt(np.hstack(errors)).tolist()
    rows = [(view, *(f"{value:.3f}" for value in row)) for view, row in zip(settings.views, cells, strict=True)]
    head = ("view", "means, before", "deviations, before", "means, after", "deviations, after")
    print("\n" + markdown_table(rows, head) + "\n" + as_text(walkers.shifts(parameters, SMALL)))
    write_figures(options.json, {"costs": costs, "errors": rows, "people": options.people, "world": settings.address})
    return 0


if __name__ == "__main__":
    sys.exit(main())
