"""Fit smooth displacements of normalised frames to real mean silhouettes: `dygait/synthetic/displacements.json`.

    python scripts/fit_displacements.py --data DATA --output lib/dygait/synthetic/displacements.json

What is left after `fit_walkers.py`: for each condition (`nm`, `bg`, `cl`) and each view of CASIA-B, the pictures of
all SynGait's walkers together, mean and deviation over frames, are warped to those of all real people together
(ids 001-049), by damped Gauss-Newton over the displacements of 7 x 4 points. A displacement of a pixel at one point
costs as much as an error of 0.05 in 20 pixels. Printed is the error of the pictures, before and after.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from common import markdown_table
from dygait.files import write_atomically
from dygait.synthetic.displacement import COLUMNS, ROWS, sampling_positions
from dygait.synthetic.settings import parse_address
from fit_walkers import CAMERA, ERROR, PEOPLE, PIXELS, Walkers, blurred, real_statistics

WORLD = "syngait://quick?seed=78&train_ids=150&test_ids=0&frames=36&" + PEOPLE
CONDITIONS = {
    "nm": ("1,0,0", [f"nm-{number:02d}" for number in range(1, 7)]),
    "bg": ("0,1,0", ["bg-01", "bg-02"]),
    "cl": ("0,0,1", ["cl-01", "cl-02"]),
}
"""Walks of the walkers, and types of the real ones."""
STEP, STEPS = 0.25, 5
SIZES = (1.0, 0.6, 0.3, 0.0)
"""Shares of a step that are tried."""


def warped(pictures: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return pictures float (2, 64, 64) of a view after the displacement of points, pixels, (2 * ROWS * COLUMNS,)."""
    x, y = sampling_positions(points.reshape(2, ROWS, COLUMNS))
    return np.stack([cv2.remap(picture.astype(np.float32), x, y, cv2.INTER_CUBIC) for picture in pictures])


def fit(synthetic: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return the displacements (2 * ROWS * COLUMNS,) that warp a view's pictures to others, (2, 64, 64)."""

    def residuals(points: np.ndarray) -> np.ndarray:
        return (warped(synthetic, points) - real).ravel() / (ERROR * PIXELS**0.5)

    points = np.zeros(2 * ROWS * COLUMNS)
    moves = STEP * np.eye(len(points))
    for _ in range(STEPS):
        slopes = np.stack([(residuals(points + m) - residuals(points - m)) / (2 * STEP) for m in moves], 1)
        gradient = slopes.T @ residuals(points) + points
        change = np.linalg.solve(slopes.T @ slopes + np.eye(len(points)), gradient)
        candidates = [points - size * change for size in SIZES]
        points = min(candidates, key=lambda c: float((residuals(c) ** 2).sum() + (c**2).sum()))
    return points


def as_json(displacements: dict[str, dict[str, np.ndarray]]) -> str:
    """Return the displacements, a line for each view."""
    conditions = []
    for condition, by_view in displacements.items():
        lines = [
            f'    "{view}": {json.dumps(points.reshape(2, -1).round(2).tolist())}' for view, points in by_view.items()
        ]
        conditions.append(f'  "{condition}": {{\n' + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(conditions) + "\n}\n"


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="DATA", help="CASIA-B, as pickles or packed")
    parser.add_argument("--people", default="001-049", metavar="FIRST-LAST", help="default: %(default)s")
    parser.add_argument("--world", default=WORLD, metavar="ADDRESS", help="the walkers (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="is written")
    options = parser.parse_args()
    found: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    for condition, (walks, types) in CONDITIONS.items():
        settings = parse_address(f"{options.world}&people.walks={walks}")
        synthetic = blurred(Walkers(settings, {}).statistics(np.zeros(len(CAMERA) * len(settings.views))))
        real = blurred(real_statistics(options.data, options.people, types, settings.views))
        found[condition] = {
            view: fit(*pictures) for view, *pictures in zip(settings.views, synthetic, real, strict=True)
        }
        after = np.stack([warped(p, points) for p, points in zip(synthetic, found[condition].values(), strict=True)])
        errors = [np.sqrt(((pictures - real) ** 2).mean((2, 3))).mean(0) for pictures in (synthetic, after)]
        rows.append((condition, *(f"{error:.3f}" for pair in errors for error in pair)))
    write_atomically(options.output, as_json(found))
    head = ("condition", "means, before", "deviations, before", "means, after", "deviations, after")
    print(markdown_table(rows, head))
    return 0


if __name__ == "__main__":
    sys.exit(main())
