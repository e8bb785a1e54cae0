"""Differences of SynGait to real silhouettes: descriptors of both, and classifiers that separate them.

    python scripts/compare_with_real.py --real DIR                                   # against syngait://wild
    python scripts/compare_with_real.py --real DIR --synthetic "syngait://full?seed=1"

DIR holds CASIA-B, packed or as pickles. Only ids 001 to 074 are read, whatever it holds: the others are for tests, and
a generator that is tuned on them would be tuned on the test. Sequences of the same types and views are drawn from both.
Nothing but the numbers of whole samples is printed or written: no frame, and nothing of a single person.

Descriptors are taken from each normalised frame (widths by height, area, roughness, holes, pieces, gaps between the
legs, ...), whose mean and standard deviation over a sequence describe the sequence, with some of its course in time
(period and harmonics of the gait, flicker). The effect size is Cohen's d: the difference of the means over the pooled
standard deviation; "spread" is the synthetic standard deviation over the real one.

Two classifiers, cross-validated by id: gradient boosting on the descriptors, sequence by sequence, and a small
convolutional network, frame by frame, whose answers are also averaged over each sequence. An area under the ROC curve
of 0.5 means that they cannot be told apart, 1.0 always. A generator for training need not reach 0.5, it must cover what
is real: "covered" is the share of the real sequences that lie within the reach of the synthetic ones, each of which
reaches as far as its fifth neighbour (the recall of T. Kynkäänniemi et al., *Improved precision and recall metric for
assessing generative models*, NeurIPS 2019), in the standardised descriptors; "realistic" is the same with sides
exchanged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import NearestNeighbors
from tabulate import tabulate

from common import write_figures
from dygait.data.stores import Store, open_store
from dygait.errors import UserError
from dygait.synthetic.cameras import VIEWS

REAL_IDS = [f"{number:03d}" for number in range(1, 75)]
"""CASIA-B's training ids; the test ids are never read."""
FRAMES = 40
"""From the middle of each sequence; of shorter ones all."""
SIZE, CUT = 64, 10
BANDS = 16
FOLDS = 5
CNN_FRAMES, CNN_EPOCHS = 10, 4
"""Frames of a sequence that the network sees, and how often."""


@dataclass(frozen=True)
class Sample:
    """Sequences of one source: frames uint8 (S, 64, 64) each, and the id of each."""

    sequences: list[np.ndarray]
    ids: list[str]


def _runs(row: np.ndarray) -> tuple[int, int]:
    """Return the number of runs of foreground in a row, and the pixels of the gaps between them."""
    filled = np.flatnonzero(row)
    if len(filled) == 0:
        return 0, 0
    steps = np.diff(filled)
    return 1 + int((steps > 1).sum()), int((steps - 1).sum())


def _perimeter(mask: np.ndarray) -> tuple[float, int, float]:
    """Return the length of the outer outlines of a mask, the number of its holes, and their area."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = [parent < 0 for *_, parent in hierarchy[0]] if contours else []
    length = sum(cv2.arcLength(c, True) for c, out in zip(contours, outer, strict=True) if out)
    holes = [c for c, out in zip(contours, outer, strict=True) if not out]
    return length, len(holes), sum(cv2.contourArea(c) for c in holes)


def describe_frame(frame: np.ndarray) -> dict[str, float]:
    """Describe one normalised frame, uint8 (64, 64)."""
    mask = (frame > 127).view(np.uint8)
    widths = mask.sum(1, dtype=np.float64)
    area = max(float(widths.sum()), 1.0)
    length, holes, hole_area = _perimeter(mask)
    smooth, _, _ = _perimeter((cv2.GaussianBlur(frame, (0, 0), 2.0) > 127).view(np.uint8))
    pieces, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    largest = statistics[1:, cv2.CC_STAT_AREA].max() if pieces > 1 else 0
    legs, arms = ([_runs(row) for row in mask[first:last]] for first, last in ((44, 62), (16, 40)))
    columns = np.arange(SIZE)
    upper, lower = ((part * columns).sum() / max(part.sum(), 1) for part in (mask[:32], mask[32:]))
    _, _, wide, _ = cv2.boundingRect(mask)
    bands = widths.reshape(BANDS, -1).mean(1)
    return {
        **{f"width of rows {4 * band}-{4 * band + 3}": float(width) for band, width in enumerate(bands)},
        "area": area,
        "width of the box": float(wide),
        "width of the topmost two rows": float(widths[:2].mean()),
        "width of the lowest two rows": float(widths[-2:].mean()),
        "roughness (outline / smoothed outline)": length / max(smooth, 1.0),
        "outline / sqrt(area)": length / area**0.5,
        "holes": float(holes),
        "area of holes (%)": 100 * hole_area / area,
        "pieces": float(pieces - 1),
        "area outside the largest piece (%)": 100 * (area - largest) / area,
        "rows with a gap between the legs (%)": 100 * float(np.mean([runs > 1 for runs, _ in legs])),
        "gap between the legs": float(np.mean([gap for _, gap in legs])),
        "rows with a gap at the arms (%)": 100 * float(np.mean([runs > 1 for runs, _ in arms])),
        "asymmetry (% of the area)": 50 * float(np.abs(mask[:, 1:] - mask[:, :0:-1].astype(np.int8)).sum()) / area,
        "lean (upper less lower half)": float(upper - lower),
        "grey pixels / outline": float(((frame > 15) & (frame < 240)).sum()) / max(length, 1.0),
    }


def describe_course(frames: np.ndarray) -> dict[str, float]:
    """Describe how the frames (S, 64, 64) of a sequence follow each other."""
    masks = (frames > 127).astype(np.float32)
    outline = np.mean([_perimeter(mask)[0] for mask in masks.astype(np.uint8)]) or 1.0
    # The second difference in time: of steady motion nearly nothing, of noise all of it.
    jump = np.abs(masks[1:-1] - 0.5 * (masks[:-2] + masks[2:]))
    area = masks.sum((1, 2))
    columns = np.arange(SIZE, dtype=np.float32)
    head = (masks[:, :10] * columns).sum((1, 2)) / np.maximum(masks[:, :10].sum((1, 2)), 1)
    return {
        "change between frames / outline": float(np.abs(np.diff(masks, axis=0)).sum((1, 2)).mean()) / outline,
        "flicker above / outline": float(jump[:, :32].sum((1, 2)).mean()) / outline,
        "flicker below / outline": float(jump[:, 32:].sum((1, 2)).mean()) / outline,
        "flicker of the area (%)": 100 * float(np.abs(np.diff(area, 2)).mean() / area.mean()),
        "flicker of the head's column": float(np.abs(np.diff(head, 2)).mean()),
        **describe_cycle(masks[:, 40:].sum((1, 2)) / 24),
    }


def describe_cycle(signal: np.ndarray) -> dict[str, float]:
    """Describe the gait cycle by the width of the legs (S,), of which a step is one period."""
    time = np.arange(len(signal))
    swing = signal - np.polyval(np.polyfit(time, signal, 1), time)
    frequencies = np.linspace(1 / 40, 1 / 6, 136)
    waves = np.exp(-2j * np.pi * frequencies[:, None] * time) * np.hanning(len(signal))
    power = np.abs(waves @ swing) ** 2
    step = float(frequencies[power.argmax()])
    angles = 2 * np.pi * step * time[:, None] * np.arange(1, 4)
    basis = np.hstack([np.cos(angles), np.sin(angles)])
    solution = np.linalg.lstsq(basis, swing, rcond=None)[0]
    first, second, third = np.hypot(solution[:3], solution[3:]).tolist()
    rest = swing - basis @ solution
    return {
        "frames of a step": 1 / step,
        "first harmonic of the legs' width": first,
        "second harmonic / first": second / max(first, 1e-3),
        "third harmonic / first": third / max(first, 1e-3),
        "rest / first": float(rest.std()) / max(first, 1e-3),
    }


def describe(frames: np.ndarray) -> dict[str, float]:
    """Describe a sequence of normalised frames, uint8 (S, 64, 64)."""
    described = [describe_frame(frame) for frame in frames]
    table = np.array([list(frame_descriptors.values()) for frame_descriptors in described])
    names = list(described[0])
    return {
        **dict(zip(names, table.mean(0).tolist(), strict=True)),
        **{f"{name}, sd": value for name, value in zip(names, table.std(0).tolist(), strict=True)},
        **describe_course(frames),
    }


def read_samples(real: Store, synthetic: Store, count: int, views: list[str], rng: np.random.Generator) -> list[Sample]:
    """Read `count` sequences of each store, of the same types and views, ids 001 to 074 of the real one."""
    kinds = set(real.table.types.names) & set(synthetic.table.types.names)
    usable = real.table.ids.isin(REAL_IDS) & real.table.views.isin(views) & real.table.types.isin(kinds)
    candidates = np.flatnonzero(usable)
    if len(candidates) == 0:
        raise UserError(f"--real {real.root}: no sequence of ids 001 to 074 has a view and type of {synthetic.root}")
    indices = rng.permutation(candidates)[:count]
    position = {key: index for index, key in enumerate(synthetic.table.all_keys())}
    names = sorted(set(synthetic.table.ids.names))
    samples = [Sample([], []), Sample([], [])]
    for number, index in enumerate(indices.tolist()):
        _, kind, view = real.table.key(index)
        other = position[names[number % len(names)], kind, view]
        for sample, store, row in zip(samples, (real, synthetic), (index, other), strict=True):
            frames = _middle(store.read(row))
            # Frames without the person are skipped, as in preparation.
            with_person = frames[frames.any((1, 2))]
            if len(with_person) >= FRAMES // 2:
                sample.sequences.append(with_person)
                sample.ids.append(store.table.key(row)[0])
    return samples


def _middle(frames: np.ndarray) -> np.ndarray:
    if frames.shape[1:] != (SIZE, SIZE):
        raise UserError(f"frames are {frames.shape[1]} x {frames.shape[2]}, not normalised to {SIZE} x {SIZE}")
    first = max(0, (len(frames) - FRAMES) // 2)
    return np.asarray(frames[first : first + FRAMES])


def folds(groups: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the training and test indices of each fold; an id is in one of them only."""
    return GroupKFold(FOLDS).split(groups, groups=groups)


def scores(labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    """Return accuracy and AUC of probabilities."""
    return {
        "accuracy": float(accuracy_score(labels, answers > 0.5)),
        "auc": float(roc_auc_score(labels, answers)),
    }


def classify_descriptors(table: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """Tell sequences apart by their descriptors (N, D)."""
    answers = np.zeros(len(labels))
    for train, test in folds(groups):
        model = HistGradientBoostingClassifier(max_iter=80, random_state=0)
        answers[test] = model.fit(table[train], labels[train]).predict_proba(table[test])[:, 1]
    return scores(labels, answers)


def _network() -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for before, after in ((1, 8), (8, 16), (16, 32)):
        layers += [torch.nn.Conv2d(before, after, 3, padding=1), torch.nn.BatchNorm2d(after), torch.nn.ReLU()]
        layers += [torch.nn.MaxPool2d(2)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(32 * 8 * 5, 1))


def classify_frames(sequences: list[np.ndarray], labels: np.ndarray, groups: np.ndarray) -> dict[str, dict[str, float]]:
    """Tell frames apart by a small convolutional network, and sequences by the mean of its answers."""
    torch.manual_seed(0)
    chosen = [frames[np.linspace(0, len(frames) - 1, CNN_FRAMES).astype(int), :, CUT:-CUT] for frames in sequences]
    pictures = torch.from_numpy(np.stack(chosen)).float()[:, :, None] / 255  # (N, CNN_FRAMES, 1, 64, 44)
    answers = np.zeros((len(labels), CNN_FRAMES))
    targets = torch.from_numpy(labels).float()[:, None].expand(-1, CNN_FRAMES)
    for train, test in folds(groups):
        network = _network()
        inputs, target = pictures[train].flatten(0, 1), targets[train].flatten()
        steps = CNN_EPOCHS * (len(inputs) // 64 + 1)
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
        for _ in range(CNN_EPOCHS):
            for batch in torch.randperm(len(inputs)).split(64):
                loss = torch.nn.functional.binary_cross_entropy_with_logits(network(inputs[batch])[:, 0], target[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        network.eval()
        with torch.no_grad():
            answers[test] = network(pictures[test].flatten(0, 1)).sigmoid().reshape(-1, CNN_FRAMES).numpy()
    return {
        "frames": scores(np.repeat(labels, CNN_FRAMES), answers.ravel()),
        "sequences": scores(labels, answers.mean(1)),
    }


def covered(inner: np.ndarray, outer: np.ndarray, neighbours: int = 5) -> float:
    """Return the share of the points `inner` (N, D) that a point of `outer` (M, D) reaches."""
    search = NearestNeighbors(n_neighbors=neighbours + 1).fit(outer)
    reach = search.kneighbors(outer)[0][:, -1]
    distances = np.linalg.norm(inner[:, None] - outer[None], axis=2)
    return float((distances <= reach).any(1).mean())


def compare(real: Sample, synthetic: Sample) -> dict[str, dict]:
    """Compare two samples."""
    described = [[describe(frames) for frames in sample.sequences] for sample in (real, synthetic)]
    names = list(described[0][0])
    tables = [np.array([list(sequence.values()) for sequence in sample]) for sample in described]
    table = np.concatenate(tables)
    labels = np.repeat([0, 1], [len(tables[0]), len(tables[1])])
    # A real and a synthetic person of one number have nothing in common, and stay in one fold.
    groups = np.array([*real.ids, *synthetic.ids])
    (mean_r, mean_s), (sd_r, sd_s) = ([f(t, axis=0) for t in tables] for f in (np.mean, np.std))
    pooled = np.sqrt((sd_r**2 + sd_s**2) / 2) + 1e-9
    descriptors = {
        name: {
            "real": float(mean_r[k]),
            "synthetic": float(mean_s[k]),
            "d": float((mean_s[k] - mean_r[k]) / pooled[k]),
            "spread": float(sd_s[k] / (sd_r[k] + 1e-9)),
            "auc": float(roc_auc_score(labels, table[:, k])),
        }
        for k, name in enumerate(names)
    }
    standard = [(t - mean_r) / (sd_r + 1e-9) for t in tables]
    return {
        "descriptors": descriptors,
        "classifiers": {
            "descriptors, sequences": classify_descriptors(table, labels, groups),
            **{
                f"network, {what}": result
                for what, result in classify_frames(real.sequences + synthetic.sequences, labels, groups).items()
            },
        },
        "coverage": {"covered": covered(*standard), "realistic": covered(*standard[::-1])},
    }


def main() -> int:
    """Read, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="CASIA-B, packed or as pickles")
    parser.add_argument(
        "--synthetic", default="syngait://full", metavar="ADDRESS", help="SynGait (default: %(default)s)"
    )
    parser.add_argument("--sequences", type=int, default=200, help="of each side (default: %(default)s)")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS), help="(default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of sequences (default: %(default)s)")
    parser.add_argument("--top", type=int, default=30, help="descriptors printed (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    args = parser.parse_args()
    try:
        stores = open_store(args.real), open_store(args.synthetic)
        samples = read_samples(*stores, args.sequences, args.views, np.random.default_rng(args.seed))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result = compare(*samples)

    rows = sorted(result["descriptors"].items(), key=lambda row: -abs(row[1]["d"]))[: args.top]
    cells = [(name, *(f"{row[key]:.2f}" for key in ("real", "synthetic", "d", "spread", "auc"))) for name, row in rows]
    print(tabulate(cells, ("descriptor", "real", "synthetic", "d", "spread", "AUC"), disable_numparse=True))
    print()
    cells = [(name, f"{100 * row['accuracy']:.1f}", f"{row['auc']:.3f}") for name, row in result["classifiers"].items()]
    print(tabulate(cells, ("classifier", "accuracy (%)", "AUC"), disable_numparse=True))
    print("\n" + ", ".join(f"{name} {100 * share:.1f} %" for name, share in result["coverage"].items()))
    if args.json is not None:
        sizes = {"real": len(samples[0].sequences), "synthetic": len(samples[1].sequences)}
        content = {**result, "sequences": sizes, "synthetic": args.synthetic, "views": args.views, "seed": args.seed}
        write_figures(args.json, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
