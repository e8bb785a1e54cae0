"""Identification of CASIA-B's people by a gallery: rank-1 in all of it, and known or unknown with half of it enrolled.

Every id of `--people` is enrolled from nm-01..04 at 090, and searched by nm-05,06, bg-01,02 and cl-01,02 at 072, 090
and 108, with the windows and distances of `dygait enroll` and `dygait identify`. For known or unknown, half of them
are enrolled, at random, `--splits` times. Thresholds at a false-positive identification rate (FPIR) come from

    searches    the searches themselves, so that their FPIR is exact: the best result of the features
    others      ids of the same data that are in neither half (`--others`), enrolled and searched in the same way
    synthetic   SynGait (`--synthetic`), enrolled by nm-01..04 at 090: possible without any labelled data

Tables are Markdown; percentages are over searches, their 95 % intervals over people, by the bootstrap.

    python scripts/evaluate_identification.py --data datasets/CASIA-B/data --weights syngait/small
    python scripts/evaluate_identification.py --data DATA --weights RUN --json FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common import ids_between, markdown_table, write_figures
from dygait import __version__
from dygait.data.stores import Store, open_store
from dygait.deployment import EmbeddingModel, load_pretrained
from dygait.evaluation.intervals import bootstrap, interval
from dygait.evaluation.openset import identify
from dygait.identification.calibration import Calibration
from dygait.identification.labelled import Choice, calibrate, embed_sequences
from dygait.identification.search import distances_of_tracks
from dygait.identification.windows import SIZE, STEP
from dygait.logs import progress
from dygait.untrusted import at

ENROLLED, ENROLLED_VIEW = "nm-0[1-4]", "090"
GROUPS = {"NM": "nm-0[56]", "BG": "bg-0[12]", "CL": "cl-0[12]"}
VIEWS = ("072", "090", "108")
FPIRS = (0.01, 0.1)
WINDOWS = (SIZE, STEP)
RESAMPLES = 1000


class Searches(NamedTuple):
    """M searches of people in the gallery of all Q."""

    people: list[str]
    subjects: np.ndarray  # (M,) indices of people
    groups: np.ndarray  # (M,) names
    views: np.ndarray  # (M,) names
    distance: np.ndarray  # (M, Q)


def bar(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Show a progress bar on a terminal."""
    return progress(items, total, "embedding")


def group_of(kind: str) -> str | None:
    """Return the group of probes of a sequence's type."""
    return next((group for group, pattern in GROUPS.items() if fnmatchcase(kind, pattern)), None)


def search(model: EmbeddingModel, store: Store, ids: set[str], metric: str) -> Searches:
    """Enrol the people, and search for them."""
    keys = store.table.all_keys()
    enrolled = [n for n, (i, t, v) in enumerate(keys) if i in ids and fnmatchcase(t, ENROLLED) and v == ENROLLED_VIEW]
    probes = [n for n, (i, t, v) in enumerate(keys) if i in ids and group_of(t) and v in VIEWS]
    people = sorted({keys[n][0] for n in enrolled})
    if len(people) < 2 or not probes:
        raise SystemExit(
            f"{store.root}: {len(people)} of the people have {ENROLLED} at {ENROLLED_VIEW}; two are needed"
        )
    order = np.array(enrolled + probes)
    features = dict(zip(order.tolist(), embed_sequences(model, store, order, WINDOWS, bar), strict=True))
    gallery = [np.concatenate([features[n] for n in enrolled if keys[n][0] == person]) for person in people]
    used = [n for n in probes if len(features[n]) and keys[n][0] in people]
    distance = distances_of_tracks([features[n] for n in used], gallery, metric)
    subjects = np.array([people.index(keys[n][0]) for n in used])
    groups, views = (np.array([name(keys[n]) for n in used]) for name in (lambda k: group_of(k[1]), lambda k: k[2]))
    return Searches(people, subjects, groups, views, distance)


def with_interval(scores: np.ndarray, subjects: np.ndarray) -> dict[str, float]:
    """Return the mean of scores in percent, with its interval."""
    low, high = interval(100 * bootstrap(scores[:, None].astype(float), subjects, RESAMPLES)) or (np.nan, np.nan)
    return {"value": 100 * float(scores.mean()), "low": low, "high": high}


def rank_1(searches: Searches) -> dict[str, dict[str, dict[str, float]]]:
    """Return group -> view or `mean` -> the share of searches whose nearest person is the right one."""
    correct = searches.distance.argmin(1) == searches.subjects
    table: dict[str, dict[str, dict[str, float]]] = {}
    for group in GROUPS:
        cells = {view: (searches.groups == group) & (searches.views == view) for view in VIEWS}
        cells["mean"] = searches.groups == group
        table[group] = {name: with_interval(correct[c], searches.subjects[c]) for name, c in cells.items() if c.any()}
    return table


def open_set(
    searches: Searches, thresholds: dict[str, Calibration], splits: int
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Return group -> FPIR -> source of the threshold -> FPIR and DIR in percent, means over random halves."""
    rng = np.random.default_rng(0)
    count = len(searches.people) // 2
    sums: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for _ in range(splits):
        known = np.sort(rng.permutation(len(searches.people))[:count])
        distance = searches.distance[:, known]
        mated = (known == searches.subjects[:, None]).any(1)
        first, second = np.partition(distance, 1, axis=1)[:, :2].T
        ratio, correct = first / second, known[distance.argmin(1)] == searches.subjects
        for group in (*GROUPS, "all"):
            selected = np.ones(len(mated), bool) if group == "all" else searches.groups == group
            m, s = mated & selected, ~mated & selected
            result = identify(ratio[m], ratio[s], correct[m], FPIRS)
            for fpir in FPIRS:
                key = group, f"{fpir:g}"
                sums.setdefault((*key, "searches"), []).append((fpir, result.dir_at_fpir[fpir]))
                for source, calibration in thresholds.items():
                    limit = calibration.threshold(count, fpir)
                    hits = (ratio[m] <= limit) & correct[m]
                    sums.setdefault((*key, source), []).append((float((ratio[s] <= limit).mean()), float(hits.mean())))
    table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for (group, fpir, source), rates in sums.items():
        alarms, hits = (100 * np.array(rates).mean(0)).tolist()
        table.setdefault(group, {}).setdefault(fpir, {})[source] = {"FPIR": alarms, "DIR": hits}
    return table


def print_tables(ranks: dict[str, Any], rates: dict[str, Any], searches: Searches, half: int) -> None:
    """Print both tables as Markdown."""
    columns = [*VIEWS, "mean"]
    cells = [
        [g, *(f"{r[c]['value']:.1f} ({r[c]['low']:.1f} to {r[c]['high']:.1f})" for c in columns)]
        for g, r in ranks.items()
    ]
    print(f"\nRank-1 in percent, {len(searches.people)} people enrolled, {len(searches.subjects)} searches:\n")
    print(markdown_table(cells, ["group", *columns]), end="")
    lines = [
        [group, f"{100 * float(fpir):g} %", source, f"{rate['FPIR']:.1f}", f"{rate['DIR']:.1f}"]
        for group, by_rate in rates.items() for fpir, by_source in by_rate.items() for source, rate in by_source.items()
    ]  # fmt: skip
    print(f"\nKnown or unknown in percent, {half} of {len(searches.people)} people enrolled:\n")
    print(markdown_table(lines, ["group", "wanted FPIR", "threshold from", "FPIR", "DIR"]), end="")


def main() -> None:
    """Run the protocol."""
    parser = argparse.ArgumentParser(description="Identification of CASIA-B's people by a gallery.")
    parser.add_argument("--data", required=True, help="CASIA-B as a tree of pickles or a packed store")
    parser.add_argument("--weights", default="syngait/small", help="as of `dygait enroll` (default: %(default)s)")
    parser.add_argument("--people", default="075-124", help="first and last id that is enrolled or searched")
    parser.add_argument("--others", default="001-074", help="first and last id of those that thresholds come from")
    parser.add_argument("--synthetic", default="syngait://full?seed=990019&train_ids=0&test_ids=100", metavar="ADDRESS")
    parser.add_argument("--splits", type=int, default=20, help="random halves (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    options = parser.parse_args()
    model, store = load_pretrained(options.weights), open_store(options.data)
    metric = at(model.info.training, "config", "evaluator_cfg", "metric") or "euc"
    people, others = (set(ids_between(bounds, store.table.ids.names)) for bounds in (options.people, options.others))
    searches = search(model, store, people, metric)
    thresholds = {}
    other_people = search_as_calibration(search(model, store, others, metric), options.others)
    thresholds["others"] = other_people
    choice = Choice(enrolled_types=ENROLLED, enrolled_views=ENROLLED_VIEW, searches=18)
    synthetic = open_store(options.synthetic)
    thresholds["synthetic"] = calibrate(model, synthetic, choice, min(FPIRS), WINDOWS, metric, bar)
    ranks, rates = rank_1(searches), open_set(searches, thresholds, options.splits)
    print_tables(ranks, rates, searches, len(searches.people) // 2)
    model_details = {"dygait": __version__, "weights": model.info.name, "identity": model.info.identity}
    write_figures(options.json, {"rank-1": ranks, "open_set": rates}, **model_details, data=store.fingerprint)


def search_as_calibration(searches: Searches, source: str) -> Calibration:
    """Return the searches of other people as a calibration."""
    is_own = np.arange(len(searches.people)) == searches.subjects[:, None]
    others = np.sort(searches.distance[~is_own].reshape(len(is_own), -1), 1)
    return Calibration(searches.distance[is_own], others, searches.subjects, source, min(FPIRS))


if __name__ == "__main__":
    main()
