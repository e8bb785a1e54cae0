"""What an evaluation counts and a report draws, one comparison after the other: slow and obvious."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reference import metrics


def distances(features: np.ndarray) -> np.ndarray:
    """(N, N) Euclidean distances."""
    vectors = features.tolist()
    return np.array([[metrics.distance(a, b, "euc") for b in vectors] for a in vectors])


class Comparisons:
    """Every comparison of some probes with a gallery, searched one view at a time or at once.

    A comparison is a probe against the gallery of one view, or the whole gallery, without excluded pairs; it is a
    search if a pair remains. If pairs of one view are excluded, the comparison with the identical view has no true
    match, and no mean includes it.
    """

    def __init__(
        self,
        matrix: np.ndarray,
        ids: Sequence[str],
        types: Sequence[str],
        views: Sequence[str],
        probe_types: Sequence[str],
        gallery_types: Sequence[str],
        one_view: bool,
        excluded: str,
        unmatched: str = "left out",
    ) -> None:
        self.ids, self.types, self.views = ids, types, views
        self.probes = [n for n in range(len(ids)) if types[n] in probe_types]
        gallery = [n for n in range(len(ids)) if types[n] in gallery_types]
        self.genuine: list[float] = []
        self.impostor: list[float] = []
        # (probe, gallery view) -> [(distance, position)] nearest first, ties in the gallery's order.
        self.ranked: dict[tuple[int, str], list[tuple[float, int]]] = {}
        # (probe, gallery view) -> which of them are true matches; of the comparisons that are in the means.
        self.matches: dict[tuple[int, str], list[bool]] = {}
        self.wrong = unmatched == "counted as wrong"
        for probe in self.probes:
            for view in sorted({views[n] for n in gallery}) if one_view else [""]:
                found = []
                for other in gallery:
                    if one_view and views[other] != view:
                        continue
                    same_view, same_id = views[other] == views[probe], ids[other] == ids[probe]
                    if (excluded == "identical view" and same_view) or (
                        excluded == "same id in the same view" and same_view and same_id
                    ):
                        continue
                    found.append((float(matrix[probe, other]), other))
                    (self.genuine if same_id else self.impostor).append(found[-1][0])
                found.sort(key=lambda pair: pair[0])
                if found:
                    self.ranked[probe, view] = found
                if excluded == "nothing" or view != views[probe]:
                    self.matches[probe, view] = [ids[other] == ids[probe] for _, other in found]
        self.one_view = one_view

    def rank(self, probe: int, view: str) -> int | None:
        """Return the rank of the nearest true match; None without one."""
        found = self.ranked.get((probe, view), [])
        hits = [rank for rank, (_, other) in enumerate(found, 1) if self.ids[other] == self.ids[probe]]
        return hits[0] if hits else None

    def mean(self, measure: Callable[[list[bool]], float | None]) -> float:
        """Return the percentage: over probes, then gallery views, then probe views; or over probes alone."""
        means = []
        for probe_view in sorted({self.views[n] for n in self.probes}) if self.one_view else [None]:
            cells = []
            for view in sorted({v for _, v in self.matches}):
                scores = [
                    measure(matches)
                    for (probe, v), matches in self.matches.items()
                    if v == view and probe_view in (None, self.views[probe])
                ]
                counted = [0.0 if s is None else s for s in scores if s is not None or self.wrong]
                if counted:
                    cells.append(sum(counted) / len(counted))
            if cells:
                means.append(sum(cells) / len(cells))
        return 100 * sum(means) / len(means)

    def cmc(self, k: int) -> float:
        """Return the percentage within rank k."""
        return self.mean(lambda matches: float(any(matches[:k])) if any(matches) else None)

    def error(self, probe: int) -> float | None:
        """Return the share of a probe's comparisons in which somebody else is nearest."""
        ranks = [r for key in self.ranked if key[0] == probe and (r := self.rank(*key)) is not None]
        return sum(r > 1 for r in ranks) / len(ranks) if ranks else None

    def margins(self) -> list[tuple[float, int, str]]:
        """Return the wrong comparisons, hardest first: how far the true match is behind, probe, gallery view."""
        found = []
        for key, ranked in self.ranked.items():
            rank = self.rank(*key)
            if rank is not None and rank > 1:
                true = min(d for d, n in ranked if self.ids[n] == self.ids[key[0]])
                other = min(d for d, n in ranked if self.ids[n] != self.ids[key[0]])
                found.append((true - other, *key))
        return sorted(found, key=lambda entry: -entry[0])
