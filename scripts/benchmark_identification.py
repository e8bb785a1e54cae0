"""Benchmark of the search in a gallery against a plain loop over people, on random features.

A gallery of people of 20 windows each, and tracks of 8 windows: some of people who are enrolled, some of strangers. The
features are 64 channels x 31 parts, as those of the paper's pyramid of strips: a million windows take 8 GiB. The
plain form: for each person, NumPy's norms of the differences between all windows, part by part, in float32; the mean of
the three nearest; that over the nearer half of the track's windows. Both must find the same people, at distances equal
within 1e-5, or the run fails.

    python scripts/benchmark_identification.py                # 100,000 windows and a million; 12 GiB of memory
    python scripts/benchmark_identification.py --faiss        # and the first stage by faiss: seconds, and recall
    python scripts/benchmark_identification.py --quick        # small sizes, to see that it runs
    python scripts/benchmark_identification.py --json FILE    # {"ratios": ..., "details": ..., "environment": ...}

`search_100000` and `search_1000000` are the plain loop's seconds for a track over ours, medians over tracks, in one
alternating pass: larger is better. `--limit` fails the run if a track takes longer than 0.2 s and 2 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import ratio, write_figures
from dygait.identification.approximate import ApproximateSearch
from dygait.identification.search import NEAREST, Candidate, ExactSearch
from dygait.machine import peak_memory

CHANNELS, PARTS = 64, 31
WINDOWS_OF_PERSON, WINDOWS_OF_TRACK = 20, 8
LIMITS = {100_000: 0.2, 1_000_000: 2.0}
LATENT = 32
"""Dimensions of a person: features lie near a space of few dimensions, as those of networks do."""
SPREAD = 0.7
"""The deviation of a window from its person, as a share of that of people from each other."""
TOLERANCE = 1e-5
Search = Callable[[np.ndarray, int], list[Candidate]]


class Crowd:
    """Random people, whose windows are a pure function of the numbers of person and walk."""

    def __init__(self, channels: int, parts: int) -> None:
        self.shape = channels, parts
        maps = np.random.default_rng(0).standard_normal((LATENT, channels * parts)).astype(np.float32)
        self.maps = torch.from_numpy(maps)  # NumPy's own threads would wait actively between the small products

    def windows(self, person: int, count: int, walk: int) -> np.ndarray:
        """Return windows of a walk, float32 (count, C, P)."""
        centre = np.random.default_rng((1, person)).standard_normal(LATENT)
        deviation = np.random.default_rng((2, person, walk)).standard_normal((count, LATENT))
        latent = (centre + SPREAD * deviation).astype(np.float32)
        return torch.from_numpy(latent).mm(self.maps).view(count, *self.shape).numpy()


def plain(gallery: ExactSearch, track: np.ndarray, count: int) -> list[Candidate]:
    """Search by a loop over the people."""
    candidates = []
    for person, name in enumerate(gallery.names):
        windows = gallery.features(person).numpy()
        distance = np.empty((len(track), len(windows)), np.float32)
        for row, window in enumerate(track):
            distance[row] = np.linalg.norm(windows - window, axis=1).mean(1)
        nearest = np.sort(np.sort(distance, axis=1)[:, :NEAREST].mean(1))
        candidates.append(Candidate(name, float(nearest[: (len(track) + 1) // 2].mean())))
    return sorted(candidates, key=lambda candidate: candidate.distance)[:count]


def timed(search: Search, track: np.ndarray) -> tuple[float, list[Candidate]]:
    """Return the seconds of a search, and its result."""
    start = time.perf_counter()
    candidates = search(track, 5)
    return time.perf_counter() - start, candidates


def check(theirs: list[Candidate], mine: list[Candidate]) -> None:
    """Fail unless both searches give the same candidates."""
    same = [candidate.name for candidate in theirs] == [candidate.name for candidate in mine]
    difference = max(abs(a.distance - b.distance) / a.distance for a, b in zip(theirs, mine, strict=True))
    if not same or difference > TOLERANCE:
        raise SystemExit(f"the plain loop finds {theirs}, the search {mine}")


def measure(windows: int, crowd: Crowd, tracks: int, with_faiss: bool) -> dict[str, Any]:
    """Measure the search in a gallery of so many windows."""
    people = windows // WINDOWS_OF_PERSON
    names = [f"{person:07d}" for person in range(people)]
    features: Iterator[np.ndarray] = (crowd.windows(person, WINDOWS_OF_PERSON, 0) for person in range(people))
    exact = ExactSearch(names, [WINDOWS_OF_PERSON] * people, features, "euc")
    # Every other track is of a stranger.
    chosen = [(n * 7919) % people + (n % 2) * people for n in range(tracks)]
    walks = [crowd.windows(person, WINDOWS_OF_TRACK, 1) for person in chosen]
    exact.nearest(walks[0], 5)  # warm-up
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    answers = []
    for walk in walks:
        taken, theirs = timed(lambda track, count: plain(exact, track, count), walk)
        seconds["plain"].append(taken)
        taken, mine = timed(exact.nearest, walk)
        seconds["ours"].append(taken)
        check(theirs, mine)
        answers.append(mine)
    medians = {name: round(statistics.median(values), 4) for name, values in seconds.items()}
    result: dict[str, Any] = {"seconds": medians, "slowest": round(max(seconds["ours"]), 4)}
    result["ratio"] = ratio(*seconds.values())
    if with_faiss:
        result["faiss"] = measure_faiss(exact, walks, answers)
    return result


def measure_faiss(exact: ExactSearch, walks: list[np.ndarray], answers: list[list[Candidate]]) -> dict[str, float]:
    """Measure the search with a first stage by faiss, and its recall of the first candidate of the exact search."""
    start = time.perf_counter()
    search = ApproximateSearch(exact)
    built = time.perf_counter() - start
    times, same = zip(*(
        (seconds, candidates[0] == answer[0])
        for (seconds, candidates), answer in zip((timed(search.nearest, walk) for walk in walks), answers, strict=True)
    ), strict=True)  # fmt: skip
    return {
        "seconds_to_build": round(built, 2),
        "seconds": round(statistics.median(times), 4),
        "recall": round(sum(same) / len(same), 4),
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="The search in a gallery beside a plain loop.")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--tracks", type=int, default=6, help="tracks that are searched (default: %(default)s)")
    parser.add_argument("--windows", type=int, nargs="+", metavar="N", help="sizes of the gallery")
    parser.add_argument("--faiss", action="store_true", help="measure the first stage by faiss too")
    parser.add_argument("--limit", action="store_true", help="fail if a track takes too long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    options = parser.parse_args()
    crowd = Crowd(8, 4) if options.quick else Crowd(CHANNELS, PARTS)
    sizes = options.windows or ([1000, 4000] if options.quick else [*LIMITS])
    ratios, details = {}, {}
    for windows in sizes:
        result = measure(windows, crowd, options.tracks, options.faiss)
        print(f"{windows:,} windows:", json.dumps(result), flush=True)
        ratios[f"search_{windows}"] = result.pop("ratio")
        details[str(windows)] = result
        if options.limit and result["seconds"]["ours"] > LIMITS.get(windows, np.inf):
            raise SystemExit(
                f"{windows:,} windows: a track takes {result['seconds']['ours']} s, more than {LIMITS[windows]}"
            )
    details["peak_gib"] = round(peak_memory() / 2**30, 2)
    write_figures(options.json, {"ratios": ratios, "details": details})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
