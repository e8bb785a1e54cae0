"""Measure how real people differ: loadings of SynGait's traits on common factors, `factors.json`.

    python scripts/fit_covariance.py --data DATA --output lib/dygait/synthetic/factors.json    # CASIA-B's ids 001-049

Each person's pictures are those of `fit_walkers.py`, mean and deviation over frames in every view, once of one half of
the walks and once of the other. Ridge regression on the derivatives of SynGait's pictures, by differences around the
means of real_people.py, gives the traits of both halves; their covariance across halves is free of what a single
walk adds. Directions of traits that the pictures tell, shrunk to no less than a half, are kept, and of these the
`--factors` with the largest variance. Nothing of a single person is printed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common import ids_between, markdown_table
from dygait.data.stores import open_store
from dygait.files import write_atomically
from dygait.synthetic import real_people
from dygait.synthetic.body import Physique
from dygait.synthetic.gait_style import Style
from dygait.synthetic.settings import parse_address
from fit_walkers import CAMERA, STEP, Walkers, names, statistics, weighted

WORLD = "syngait://quick?seed=78&train_ids=36&test_ids=0&frames=36&people.walks=1,0,0&people.calibrated=1&people.dimorphism=1"
HALVES = (("nm-01", "nm-02", "nm-03"), ("nm-04", "nm-05", "nm-06"))
RIDGE, LEAST = 10.0, 0.5


def pictures_of_halves(root: str, people: str, views: Sequence[str]) -> np.ndarray:
    """Return the pictures of P people, (P, 2, V, 2, 64, 64), without people who lack a view."""
    store = open_store(root)
    numbers = {key: number for number, key in enumerate(store.table.all_keys())}
    pictures = []
    for subject in ids_between(people, store.table.ids.names):
        keys = [[[(subject, kind, view) for kind in half] for view in views] for half in HALVES]
        there = [[[numbers[key] for key in walks if key in numbers] for walks in half] for half in keys]
        if all(walks for half in there for walks in half):
            means = [[statistics(np.asarray(store.read(n)) for n in walks) for walks in half] for half in there]
            pictures.append(np.array(means, np.float32))
    return np.stack(pictures)


class Slopes:
    """Derivatives of SynGait's pictures by traits, in units of the prior."""

    def __init__(self, walkers: Walkers) -> None:
        self.walkers = walkers
        tables = real_people.BODY, real_people.GAIT
        shifts = {name: shift for table in tables for name, shift in table.items()}
        start = [shifts.get(name, 0.0) / scale for _, name, scale in walkers.traits]
        self.start = np.array(start + [0.0] * (len(CAMERA) * len(walkers.views)))

    def __call__(self, trait: int) -> np.ndarray:
        """Return the derivative by a trait."""
        step = STEP * np.eye(len(self.start))[trait]
        difference = self.walkers.statistics(self.start + step) - self.walkers.statistics(self.start - step)
        return weighted(difference / (2 * STEP))


def factors(traits: np.ndarray, curvature: np.ndarray, count: int) -> np.ndarray:
    """Return the loadings of T traits on factors, (T, count).

    Args:
        traits: products of the derivatives and the pictures of people, less their mean, of both halves, (P, 2, T).
        curvature: products of the derivatives with each other, (T, T).
    """
    values, vectors = np.linalg.eigh(curvature)
    kept = values / (values + RIDGE) > LEAST
    found = (traits @ vectors)[..., kept] / values[kept]
    covariance = np.einsum("pi,pj->ij", found[:, 0], found[:, 1]) / (len(found) - 1)
    covariance = vectors[:, kept] @ (covariance + covariance.T) @ vectors[:, kept].T / 2
    variances, directions = np.linalg.eigh(covariance)
    loadings = (directions * np.sqrt(np.maximum(variances, 0)))[:, ::-1][:, :count]
    return loadings * np.sign(loadings[np.abs(loadings).argmax(0), np.arange(count)])


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DATA", help="CASIA-B, as pickles or packed")
    parser.add_argument("--people", default="001-049", metavar="FIRST-LAST", help="default: %(default)s")
    parser.add_argument("--world", default=WORLD, metavar="ADDRESS", help="the walkers (default: %(default)s)")
    parser.add_argument("--factors", type=int, default=12, metavar="N", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="is written")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="default: %(default)s")
    options = parser.parse_args()

    settings = parse_address(options.world)
    walkers = Walkers(settings, {"BODY": (Physique, names(Physique)), "GAIT": (Style, names(Style))})
    pictures = pictures_of_halves(options.data, options.people, settings.views)
    with multiprocessing.Pool(options.processes) as pool:
        slopes = np.stack(pool.map(Slopes(walkers), range(len(walkers.traits)), chunksize=1))
    centred = pictures - pictures.mean((0, 1))
    products = np.array([[slopes @ weighted(half) for half in person] for person in centred])
    loadings = factors(products, slopes @ slopes.T, options.factors)
    scaled = {
        name: [float(f"{value:.2g}") for value in scale * row]
        for (_, name, scale), row in zip(walkers.traits, loadings, strict=True)
    }
    lines = [f'  "{name}": {json.dumps(row)}' for name, row in scaled.items()]
    write_atomically(options.output, "{\n" + ",\n".join(lines) + "\n}\n")
    spread = np.sqrt((loadings**2).sum(1)) * 1.5
    rows = [(name, f"{value:.2f}") for (_, name, _), value in zip(walkers.traits, spread, strict=True)]
    print(markdown_table(rows, ("trait", "standard deviation by the factors, relative to SynGait's")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
