"""What a report draws, one probe after the other: slow and obvious."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over parts of the Euclidean distance of (C, P) and (C, P)."""
    parts = a.shape[1]
    return float(sum(np.sqrt(((a[:, p] - b[:, p]) ** 2).sum()) for p in range(parts)) / parts)


class Comparisons:
    """Every comparison of some probes with a gallery, searched one view at a time or at once."""

    def __init__(
        self,
        features: np.ndarray,
        ids: Sequence[str],
        types: Sequence[str],
        views: Sequence[str],
        probe_types: Sequence[str],
        gallery_types: Sequence[str],
        one_view: bool,
        excluded: str,
    ) -> None:
        features = features.astype(np.float64)
        self.ids, self.views = ids, views
        self.probes = [n for n in range(len(ids)) if types[n] in probe_types]
        gallery = [n for n in range(len(ids)) if types[n] in gallery_types]
        self.genuine: list[float] = []
        self.impostor: list[float] = []
        # (probe, gallery view) -> [(distance, position)] nearest first, ties in the gallery's order.
        self.ranked: dict[tuple[int, str], list[tuple[float, int]]] = {}
        for probe in self.probes:
            for view in sorted({views[n] for n in gallery}) if one_view else [""]:
                found = []
                for other in gallery:
                    if one_view and views[other] != view:
                        continue
                    same_view, same_id = views[other] == views[probe], ids[other] == ids[probe]
                    if (excluded == "identical view" and same_view) or (
                        excluded == "same id" and same_view and same_id
                    ):
                        continue
                    found.append((distance(features[probe], features[other]), other))
                    (self.genuine if same_id else self.impostor).append(found[-1][0])
                if found:
                    self.ranked[probe, view] = sorted(found, key=lambda pair: pair[0])

    def rank(self, probe: int, view: str) -> int | None:
        """Return the rank of the nearest true match; None without one."""
        found = self.ranked[probe, view]
        hits = [place for place, (_, other) in enumerate(found, 1) if self.ids[other] == self.ids[probe]]
        return hits[0] if hits else None

    def cmc(self, k: int) -> float:
        """Return the percentage within rank k: over probes, then gallery views, then probe views."""
        means = []
        for probe_view in sorted({self.views[n] for n in self.probes}):
            cells = []
            for view in sorted({v for _, v in self.ranked}):
                keys = [key for key in self.ranked if key[1] == view and self.views[key[0]] == probe_view]
                ranks = [r for key in keys if (r := self.rank(*key)) is not None]
                if ranks:
                    cells.append(sum(r <= k for r in ranks) / len(ranks))
            if cells:
                means.append(sum(cells) / len(cells))
        return 100 * sum(means) / len(means)

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
