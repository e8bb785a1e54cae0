"""Evaluation and analysis by a plain loop over comparisons: slow and obvious."""

from collections.abc import Callable, Sequence

import numpy as np

from reference import metrics

Measure = Callable[[list[bool]], "float | None"]


def distances(features: np.ndarray, metric: str = "euc") -> np.ndarray:
    """Return (N, N) distances."""
    vectors = features.tolist()
    return np.array([[metrics.distance(a, b, metric) for b in vectors] for a in vectors])


class Comparisons:
    """Every comparison of some probes with a gallery, searched one view at a time or at once.

    A comparison is a probe against the gallery of one view, or all of it, without itself and excluded pairs; it is a
    search if a pair remains. If pairs of the same view are excluded, the comparison with the identical view has no true
    match, and is not included in any mean.
    """

    def __init__(
        self,
        matrix: np.ndarray,
        ids: Sequence[str],
        views: Sequence[str],
        probes: Sequence[int],
        gallery: Sequence[int],
        one_view: bool,
        excluded: str,
        unmatched: str = "left out",
    ) -> None:
        self.ids, self.views, self.probes, self.gallery, self.one_view = ids, views, probes, gallery, one_view
        self.wrong = unmatched == "counted as wrong"
        self.genuine: list[float] = []
        self.impostor: list[float] = []
        # (probe, gallery view) -> [(distance, index)] nearest first, ties in the gallery's order.
        self.ranked: dict[tuple[int, str], list[tuple[float, int]]] = {}
        # (probe, gallery view) -> whether each is a true match: for the comparisons in the means, and for all, with
        # no exclusion.
        self.matches: dict[tuple[int, str], list[bool]] = {}
        self.whole: dict[tuple[int, str], list[bool]] = {}
        for probe in probes:
            for view in sorted({views[n] for n in gallery}) if one_view else [""]:
                candidates = (n for n in gallery if n != probe and (not one_view or views[n] == view))
                ordered = sorted(candidates, key=lambda n: matrix[probe, n])
                self.whole[probe, view] = [ids[n] == ids[probe] for n in ordered]
                included = []
                for other in ordered:
                    same_view, same_id = views[other] == views[probe], ids[other] == ids[probe]
                    if excluded == "nothing" or not same_view or (excluded != "identical view" and not same_id):
                        included.append((float(matrix[probe, other]), other))
                        (self.genuine if same_id else self.impostor).append(included[-1][0])
                if included:
                    self.ranked[probe, view] = included
                if excluded == "nothing" or view != views[probe]:
                    self.matches[probe, view] = [ids[other] == ids[probe] for _, other in included]

    def cells(self, measure: Measure, whole: bool = False) -> dict[tuple[str, str], float]:
        """Return (probe view, gallery view) -> percent, the mean over probes; one cell for the whole gallery."""
        scores: dict[tuple[str, str], list[float]] = {}
        for (probe, view), hits in (self.whole if whole else self.matches).items():
            score = measure(hits)
            if score is not None or self.wrong:
                scores.setdefault((self.views[probe] if self.one_view else "", view), []).append(100 * (score or 0.0))
        return {key: sum(values) / len(values) for key, values in scores.items()}

    def by_view(self, measure: Measure) -> dict[str, float]:
        """Return probe view -> percent, the mean over gallery views."""
        cells = self.cells(measure)
        rows = {view: [value for key, value in cells.items() if key[0] == view] for view, _ in sorted(cells)}
        return {view: sum(values) / len(values) for view, values in rows.items()}

    def mean(self, measure: Measure) -> float:
        """Return the percentage: over probes, then gallery views, then probe views; or over probes alone."""
        values = self.by_view(measure).values()
        return sum(values) / len(values)

    def rank(self, probe: int, view: str) -> int | None:
        """Return the rank of the nearest true match; None without one."""
        ranked = self.ranked.get((probe, view), [])
        hits = [rank for rank, (_, other) in enumerate(ranked, 1) if self.ids[other] == self.ids[probe]]
        return hits[0] if hits else None

    def error(self, probe: int) -> float | None:
        """Return the share of a probe's comparisons in which somebody else is nearest."""
        ranks = [r for key in self.ranked if key[0] == probe and (r := self.rank(*key)) is not None]
        return sum(r > 1 for r in ranks) / len(ranks) if ranks else None

    def margins(self) -> list[tuple[float, int, str]]:
        """Return (distance of the true match minus the nearest, probe, gallery view) of each error, largest first."""
        errors = []
        for key, ranked in self.ranked.items():
            rank = self.rank(*key)
            if rank is not None and rank > 1:
                true = min(d for d, n in ranked if self.ids[n] == self.ids[key[0]])
                other = min(d for d, n in ranked if self.ids[n] != self.ids[key[0]])
                errors.append((true - other, *key))
        return sorted(errors, key=lambda entry: -entry[0])
