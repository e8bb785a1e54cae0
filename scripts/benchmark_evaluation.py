"""Benchmark of the evaluation against a plain form, written as other frameworks write it, on random features.

The plain form: a distance matrix for every pair of probe view and gallery view, part by part with |x|² + |y|² - 2xy in
float32; a full sort; Python loops over views and over probes. The sizes are those of CASIA-B's test set (5,500
sequences, 64 parts x 128 channels), Gait3D's (1,000 probes, 5,369 in the gallery, 16 x 256) and GREW's (12,000 x
12,000, 16 x 256; and 6,000 probes against 233,000 with distractors, ours only, for time and memory).

    python scripts/benchmark_evaluation.py                # some minutes, and 8 GiB of memory
    python scripts/benchmark_evaluation.py --quick        # small sizes, to see that it runs
    python scripts/benchmark_evaluation.py --json FILE    # {"ratios": ..., "details": ..., "environment": ...}

Figures are medians of alternating repeats (GREW's ranking: one); a ratio is the plain form over ours, so that larger is
better. `distance_over_gemm` is the time of bare matrix products of CASIA-B's size, with one pass of square roots, over
that of our distances. Both forms must give the same numbers within 1e-6, or the run fails.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common import alternate, ratio, write_figures
from dygait.evaluation import evaluate, evaluate_detailed, pairwise_distance
from dygait.evaluation.ranking import first_match_rank, measure, within
from dygait.machine import peak_memory

TOLERANCE = 1e-6
LATENT, NOISE = 24, 1.1
LIMIT_GIB = 8
RANKS = (1, 5, 10, 20)
KINDS = [*(f"nm-{k:02d}" for k in range(1, 7)), "bg-01", "bg-02", "cl-01", "cl-02"]
GROUPS = {"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")}


class Case(NamedTuple):
    """Sequences to evaluate, and their names."""

    features: Tensor
    ids: list[str]
    types: list[str]
    views: list[str]
    probes: list[str] | None = None


def make_features(people: np.ndarray, channels: int, parts: int, seed: int = 0) -> Tensor:
    """Return a centre for each person plus noise, both in few dimensions, so that rank-1 is neither 0 nor 100 %."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(int(people.max()) + 1, LATENT, generator=generator)
    latent = centres[torch.from_numpy(people)] + NOISE * torch.randn(len(people), LATENT, generator=generator)
    maps = torch.randn(LATENT, channels * parts, generator=generator)
    features = torch.empty(len(people), channels, parts)
    for start in range(0, len(people), 4096):
        block = latent[start : start + 4096] @ maps
        features[start : start + 4096] = block.view(-1, channels, parts)
    return features


def casia_b(people: int, channels: int, parts: int) -> Case:
    """Return sequences with the names of CASIA-B's test set."""
    rows = [(i, kind, f"{18 * v:03d}") for i in range(people) for kind in KINDS for v in range(11)]
    numbers, types, views = (list(column) for column in zip(*rows, strict=True))
    return Case(make_features(np.array(numbers), channels, parts), [f"{75 + i:03d}" for i in numbers], types, views)


def gait3d(people: int, gallery: int, channels: int, parts: int) -> Case:
    """Return one probe of each person, and a gallery with one or more sequences of everyone."""
    rng = np.random.default_rng(0)
    numbers = np.concatenate([np.arange(people), np.arange(people), rng.integers(0, people, gallery - people)])
    ids = [f"{i:04d}" for i in numbers]
    views = [f"seq{n}" for n in range(len(ids))]
    probes = [f"{i}-camera0-{v}" for i, v in zip(ids[:people], views[:people], strict=True)]
    return Case(make_features(numbers, channels, parts), ids, ["camera0"] * len(ids), views, probes)


def grew(people: int, distractors: int, channels: int, parts: int) -> Case:
    """Return one probe and one gallery sequence of each person, and distractors in the gallery."""
    numbers = np.concatenate([np.arange(people), np.arange(people + distractors)])
    types = ["02"] * people + ["01"] * (people + distractors)
    return Case(
        make_features(numbers, channels, parts), [f"{i:06d}" for i in numbers], types, ["x"] * len(types)
    )  # fmt: skip


def plain_distance(probe: Tensor, gallery: Tensor) -> Tensor:
    """The plain form's distance: part by part, in float32."""
    distance = torch.zeros(len(probe), len(gallery))
    for part in range(probe.shape[2]):
        x, y = probe[:, :, part], gallery[:, :, part]
        squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * torch.matmul(x, y.T)
        distance += torch.sqrt(torch.relu(squared))
    return distance / probe.shape[2]


def plain_casia_b(case: Case) -> dict[str, float]:
    """The plain form's evaluation one view at a time: rank-1, identical view excluded."""
    ids, types, views = (np.array(column) for column in case[1:4])
    names = np.unique(views)
    result = {}
    for group, kinds in GROUPS.items():
        cells = np.zeros((len(names), len(names)))
        for row, probe_view in enumerate(names):
            for column, gallery_view in enumerate(names):
                probe = np.isin(types, kinds) & (views == probe_view)
                gallery = np.isin(types, KINDS[:4]) & (views == gallery_view)
                distance = plain_distance(case.features[torch.from_numpy(probe)], case.features[gallery])
                order = distance.sort(1)[1].numpy()
                cells[row, column] = np.mean(ids[gallery][order[:, 0]] == ids[probe])
        off = ~np.eye(len(names), dtype=bool)
        result[f"{group}/rank-1"] = float(np.mean([cells[row][off[row]].mean() for row in range(len(names))]))
    return result


def plain_ranking(order: np.ndarray, probe_ids: np.ndarray, gallery_ids: np.ndarray) -> dict[str, float]:
    """The plain form's ranking: a Python loop over the probes, each over its sorted gallery."""
    firsts, precisions, penalties = [], [], []
    for number in range(len(order)):
        hits = (gallery_ids[order[number]] == probe_ids[number]).astype(np.int32)
        if not np.any(hits):
            continue
        hit_counts = hits.cumsum()
        indices = np.where(hits == 1)[0]
        penalties.append(hit_counts[indices.max()] / (indices.max() + 1.0))
        firsts.append([float(hit_counts[k - 1] > 0) for k in RANKS])
        precision = [x / (i + 1.0) for i, x in enumerate(hit_counts)]
        precisions.append((np.asarray(precision) * hits).sum() / hits.sum())
    ranks = np.mean(firsts, axis=0)
    result = {f"rank-{k}": float(value) for k, value in zip(RANKS, ranks, strict=True)}
    return {**result, "mAP": float(np.mean(precisions)), "mINP": float(np.mean(penalties))}


def split(case: Case) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Return the features of probes and gallery, which come in this order, and their ids."""
    count = case.types.count("02") if case.probes is None else len(case.probes)
    ids = np.array(case.ids)
    return case.features[:count], case.features[count:], ids[:count], ids[count:]


def plain_gait3d(case: Case) -> dict[str, float]:
    """The plain form's evaluation against the whole gallery."""
    probe, gallery, probe_ids, gallery_ids = split(case)
    return plain_ranking(np.argsort(plain_distance(probe, gallery).numpy(), axis=1), probe_ids, gallery_ids)


def ours(case: Case, protocol: str) -> dict[str, float]:
    """Our evaluation, as shares."""
    percentages = evaluate(*case[:4], protocol=protocol, probes=case.probes)
    if protocol == "Gait3D":
        return {name: value / 100 for name, value in percentages["probe"].items()}
    return {f"{group}/rank-1": values["rank-1"] / 100 for group, values in percentages.items()}


def our_ranking(distance: Tensor, probe_ids: np.ndarray, gallery_ids: np.ndarray) -> dict[str, float]:
    """Our ranking, given the distances."""
    codes = torch.from_numpy(np.unique(np.concatenate([probe_ids, gallery_ids]), return_inverse=True)[1])
    match = codes[: len(probe_ids), None] == codes[len(probe_ids) :]
    ranks = first_match_rank(distance, match)
    measures = {f"rank-{k}": within(ranks, k) for k in RANKS}
    measures |= {name: measure(name, distance, match) for name in ("mAP", "mINP")}
    return {name: float(values.nanmean()) for name, values in measures.items()}


def same(name: str, theirs: dict[str, float], mine: dict[str, float]) -> None:
    """Fail unless both give the same numbers."""
    shared = set(theirs) & set(mine)
    worst = max(abs(theirs[key] - mine[key]) for key in shared)
    if worst > TOLERANCE:
        raise SystemExit(f"{name}: the numbers differ by {worst:.2g}: plain {theirs}, ours {mine}")


def bare_products(probe: Tensor, gallery: Tensor) -> Tensor:
    """The least work of any distance: a matrix product of every part, and one pass of square roots over it."""
    side = 512
    tile = torch.empty(side**2)
    for top in range(0, probe.shape[1], side):
        for left in range(0, gallery.shape[2], side):
            for x, y in zip(probe[:, top : top + side], gallery[:, :, left : left + side], strict=True):
                product = tile[: x.shape[0] * y.shape[1]].view(x.shape[0], y.shape[1])
                torch.mm(x, y, out=product)
                product.sqrt_()
    return tile


class Figures:
    """The measurements."""

    def __init__(self) -> None:
        self.ratios: dict[str, float] = {}
        self.details: dict[str, Any] = {"seconds": {}, "numbers": {}}

    def compare(self, name: str, times: list[list[float]], first: str = "plain") -> None:
        """Add a ratio, and the seconds that it is computed from."""
        self.ratios[name] = ratio(*times)
        self.details["seconds"][name] = {
            key: round(statistics.median(values), 4) for key, values in zip((first, "ours"), times, strict=True)
        }


def measure_casia_b(figures: Figures, case: Case, repeats: int) -> None:
    """Measure the evaluation one view at a time."""
    times, (theirs, mine) = alternate(repeats, lambda: plain_casia_b(case), lambda: ours(case, "CASIA-B"))
    same("casia_b", theirs, mine)
    figures.compare("casia_b", times)
    figures.details["numbers"]["casia_b"] = mine


def measure_distances(figures: Figures, case: Case, repeats: int) -> None:
    """Measure the distances alone, and their relative error."""
    in_gallery = torch.tensor([t in KINDS[:4] for t in case.types])
    probe, gallery = case.features[~in_gallery], case.features[in_gallery]
    # Positive numbers, so that every product has a square root.
    x, y = probe.abs().permute(2, 0, 1).contiguous(), gallery.abs().permute(2, 1, 0).contiguous()
    times, (_, distance) = alternate(
        2 * repeats, lambda: bare_products(x, y), lambda: pairwise_distance(probe, gallery), warm_up=True
    )
    figures.compare("distance_over_gemm", times, "gemm")
    few = distance[:100]
    exact = torch.stack([(x.double() - gallery.double()).square().sum(1).sqrt().mean(1) for x in probe[:100]])
    error = float(((few - exact).abs() / exact).max())
    if error > TOLERANCE:
        raise SystemExit(f"distances: relative error {error:.2g}")
    figures.details["relative_error_of_distances"] = error


def measure_gait3d(figures: Figures, case: Case, repeats: int) -> None:
    """Measure the evaluation against the whole gallery."""
    times, (theirs, mine) = alternate(repeats, lambda: plain_gait3d(case), lambda: ours(case, "Gait3D"))
    same("gait3d", theirs, mine)
    figures.compare("gait3d", times)
    figures.details["numbers"]["gait3d"] = mine


def measure_grew(figures: Figures, case: Case) -> None:
    """Measure distances and ranking apart; both rank the same distances, so that all ranks must be equal."""
    probe, gallery, probe_ids, gallery_ids = split(case)
    times, (plain, distance) = alternate(
        1, lambda: plain_distance(probe, gallery), lambda: pairwise_distance(probe, gallery)
    )  # fmt: skip
    figures.details["seconds"]["grew_distance"] = {"plain": round(times[0][0], 4), "ours": round(times[1][0], 4)}
    difference = float(plain.sub_(distance).abs_().div_(distance).max())
    figures.details["relative_difference_of_grew_distances"] = difference
    times, (theirs, mine) = alternate(
        1,
        lambda: plain_ranking(np.argsort(distance.numpy(), axis=1, kind="stable"), probe_ids, gallery_ids),
        lambda: our_ranking(distance, probe_ids, gallery_ids),
    )
    same("grew_ranking", theirs, mine)
    figures.compare("grew_ranking", times)
    figures.details["numbers"]["grew_ranking"] = mine


def measure_everything(quick: bool, repeats: int) -> dict[str, Any]:
    """Measure everything that both forms compute."""
    figures = Figures()
    case = casia_b(4, 8, 4) if quick else casia_b(50, 128, 64)
    measure_casia_b(figures, case, repeats)
    measure_distances(figures, case, repeats)
    measure_gait3d(figures, gait3d(20, 90, 8, 4) if quick else gait3d(1000, 5369, 256, 16), repeats)
    measure_grew(figures, grew(100, 0, 8, 4) if quick else grew(12000, 0, 256, 16))
    return {"ratios": figures.ratios, "details": figures.details}


def distractors(quick: bool) -> dict[str, float]:
    """Evaluate GREW's size with distractors, and return time and peak memory of this process, features included."""
    case = grew(600, 1730, 16, 4) if quick else grew(6000, 227000, 256, 16)
    start = time.perf_counter()
    result = evaluate_detailed(*case[:4], protocol="GREW")
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "peak_gib": round(peak_memory() / 2**30, 2), **result.percentages["probe"]}


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Our evaluation beside a plain form.")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--repeats", type=int, default=3, help="alternating repeats (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--distractors", action="store_true", help="only GREW's size with distractors")
    options = parser.parse_args()
    if options.distractors:
        print(json.dumps(distractors(options.quick)))
        return 0
    # A process of its own, whose memory is that of this case alone.
    command = [sys.executable, __file__, "--distractors", *(["--quick"] if options.quick else [])]
    large = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"GREW with distractors: {large['seconds']:.1f} s, {large['peak_gib']:.2f} GiB", flush=True)
    if large["peak_gib"] > LIMIT_GIB:
        raise SystemExit(f"GREW with distractors took more than {LIMIT_GIB} GiB")
    result = measure_everything(options.quick, options.repeats)
    result["details"]["grew_distractors"] = large
    for name, seconds in result["details"]["seconds"].items():
        print(f"{name:24}", ", ".join(f"{key} {value:.3f} s" for key, value in seconds.items()))
    for name, value in result["ratios"].items():
        print(f"{name:24} {value:10.2f} times")
    write_figures(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
