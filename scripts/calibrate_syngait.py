"""Is SynGait as hard as real data? Rank-1 of a simple baseline on SynGait and on real CASIA-B.

The baseline: nearest neighbour (Euclidean) on gait energy images, the mean over a sequence's frames, of the 50 test
ids. Gallery nm-01..04, one view at a time; probes NM nm-05,06, BG bg-01,02, CL cl-01,02; "same" is the mean over the 11
pairs of identical views, "across" that over the other 110.

    python scripts/calibrate_syngait.py                 # makes the test ids of `full` in a temporary folder (1.6 GB)
    python scripts/calibrate_syngait.py --syngait DIR   # uses what `dygait synth --preset full --output DIR` made
    python scripts/calibrate_syngait.py --real DIR      # measures real CASIA-B too (pickles), instead of quoting it

Exit code 0 when all six figures are within tolerance, else 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from common import write_figures
from dygait.data.stores import read_pickle
from dygait.errors import UserError
from dygait.synthetic.cameras import VIEWS
from dygait.synthetic.generate import generate
from dygait.synthetic.settings import PRESETS
from dygait.synthetic.walker import TYPES

GALLERY = ("nm-01", "nm-02", "nm-03", "nm-04")
PROBES = {"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")}
TEST_IDS = [f"{number:03d}" for number in range(75, 125)]
CUT = 10

REAL = {"NM": (97.9, 23.4), "BG": (60.9, 16.2), "CL": (13.2, 6.6)}
"""Real CASIA-B, same view and across views, as this script measures it with --real."""
TOLERANCE = (15.0, 10.0)

Key = tuple[str, str, str]


def energy_image(frames: np.ndarray) -> np.ndarray:
    """The gait energy image of normalised frames uint8 (S, 64, 64): float32 (64, 44), levels 0..255."""
    return frames[:, :, CUT:-CUT].mean(0, dtype=np.float32)


def energy_images(root: Path, ids: list[str]) -> dict[Key, np.ndarray]:
    """The gait energy image of every sequence (id, type, view) of a folder of pickles; missing ones are skipped."""
    images = {}
    for name in ids:
        for kind in TYPES:
            for view in VIEWS:
                path = root / name / kind / view / f"{view}.pkl"
                if path.exists() and len(frames := read_pickle(path)):
                    images[name, kind, view] = energy_image(frames)
    return images


def rank1(images: dict[Key, np.ndarray]) -> dict[str, np.ndarray]:
    """Rank-1 in percent of each probe view (row) in each gallery view (column), for each group of probes: (11, 11)."""
    ids, kinds, views = (np.array(column) for column in zip(*images, strict=True))
    vectors = np.stack([image.ravel() for image in images.values()]).astype(np.float64)
    tables = {}
    for group, group_kinds in PROBES.items():
        table = np.zeros((len(VIEWS), len(VIEWS)))
        for row, probe_view in enumerate(VIEWS):
            probe = np.flatnonzero(np.isin(kinds, group_kinds) & (views == probe_view))
            for column, gallery_view in enumerate(VIEWS):
                gallery = np.flatnonzero(np.isin(kinds, GALLERY) & (views == gallery_view))
                # |p - g|^2 less |p|^2, which is the same for all of a probe's neighbours.
                distance = (vectors[gallery] ** 2).sum(1) - 2 * vectors[probe] @ vectors[gallery].T
                table[row, column] = 100 * (ids[gallery[distance.argmin(1)]] == ids[probe]).mean()
        tables[group] = table
    return tables


def summary(tables: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Means within the same view and across views, per group."""
    same = np.eye(len(VIEWS), dtype=bool)
    return {group: (float(table[same].mean()), float(table[~same].mean())) for group, table in tables.items()}


def within_tolerance(ours: dict[str, tuple[float, float]], real: dict[str, tuple[float, float]]) -> bool:
    """Whether each of the six figures is within :data:`TOLERANCE` of the real one."""
    return all(
        abs(mine - theirs) <= allowed
        for group in real
        for mine, theirs, allowed in zip(ours[group], real[group], TOLERANCE, strict=True)
    )


def comparison(ours: dict[str, tuple[float, float]], real: dict[str, tuple[float, float]]) -> str:
    """Return both summaries and their difference as a table."""
    columns = [(f"{group} {where}", group, n) for n, where in enumerate(("same", "across")) for group in real]
    cells = [
        ("real CASIA-B", *(f"{real[g][n]:.1f}" for _, g, n in columns)),
        ("SynGait full", *(f"{ours[g][n]:.1f}" for _, g, n in columns)),
        ("difference", *(f"{ours[g][n] - real[g][n]:+.1f}" for _, g, n in columns)),
    ]
    sides = ("left", *["right"] * len(columns))
    return tabulate(cells, ("", *(name for name, _, _ in columns)), colalign=sides, disable_numparse=True)


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--syngait", type=Path, metavar="DIR", help="SynGait `full` as pickles (default: made for this run)"
    )
    parser.add_argument(
        "--real", type=Path, metavar="DIR", help="real CASIA-B as pickles (default: its figures are quoted)"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that make SynGait (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    args = parser.parse_args()

    start = time.monotonic()
    try:
        if args.syngait is not None:
            images = energy_images(args.syngait, TEST_IDS)
        else:
            with tempfile.TemporaryDirectory(prefix="syngait-") as folder:
                generate(Path(folder), PRESETS["full"], args.workers, only="test")
                images = energy_images(Path(folder), TEST_IDS)
        real_images = energy_images(args.real, TEST_IDS) if args.real is not None else None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder, images_of in ((args.syngait, images), (args.real, real_images)):
        if images_of is not None and {name for name, _, _ in images_of} != set(TEST_IDS):
            print(f"error: {folder} lacks some of the test ids {TEST_IDS[0]}..{TEST_IDS[-1]}", file=sys.stderr)
            return 2
    tables = rank1(images)
    ours, real = summary(tables), summary(rank1(real_images)) if real_images is not None else REAL

    print("rank-1 (%), nearest neighbour on gait energy images, 50 test ids")
    print(comparison(ours, real))
    fits = within_tolerance(ours, real)
    same, across = TOLERANCE
    print(f"{'within' if fits else 'NOT within'} {same:.0f} points in the same view and {across:.0f} across views")
    if args.json is not None:
        content = {
            "real": real,
            "syngait": ours,
            "within_tolerance": fits,
            "details": {
                "sequences": len(images),
                "seconds": round(time.monotonic() - start, 1),
                "real": "measured" if real_images is not None else "quoted",
                "tables": {group: table.round(1).tolist() for group, table in tables.items()},
            },
        }
        write_figures(args.json, content)
    return 0 if fits else 1


if __name__ == "__main__":
    sys.exit(main())
