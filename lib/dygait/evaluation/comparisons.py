"""One pass over the distances of probes to a gallery, from which all reported numbers and figures are derived.

A *comparison* is one probe against the gallery of one view, or against the whole gallery, without the pairs that the
protocol excludes. Excluded pairs are counted nowhere. If pairs of one view are excluded, the comparison with the
identical view has no true match, and no mean includes it. Its remaining pairs (the impostors, for `same id in the same
view`) count for verification, and form a non-mated search.

Letters: N sequences, M probes, G gallery sequences, V columns (the gallery of one view each, or the whole gallery).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dygait.config.schema import Protocol
from dygait.evaluation.distances import DEFAULT_MAX_BYTES, distance_blocks
from dygait.evaluation.ranking import first_match_rank, mean_by_view, measure, within
from dygait.evaluation.reranking import ReRank, reranked_blocks
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import PairDistances

CHANCE = "chance"
CONFUSIONS = 4
"""Number of confusions kept for each group."""
TOP = 5
"""Number of nearest gallery sequences kept for each confusion."""
_MASK = 2**24
"""Maximal number of entries of a mask (probes x gallery)."""


@dataclass(frozen=True)
class Options:
    """How distances are computed, and what is computed besides ranks.

    Attributes:
        metric: ``euc`` or ``cos``.
        device: where distances are computed.
        max_bytes: bound of the working memory of a block of distances.
        re_rank: the parameters of re-ranking; None for none.
        pairs: keep the distances of all pairs.
        searches: keep the distances of the nearest true match and of the nearest other subject.
        confusions: keep the hardest confusions of each group; requires `searches`.
    """

    metric: str
    device: torch.device
    max_bytes: int = DEFAULT_MAX_BYTES
    re_rank: ReRank | None = None
    pairs: bool = False
    searches: bool = False
    confusions: bool = False


@dataclass(frozen=True)
class Confusion:
    """A comparison whose nearest gallery sequence shows another subject.

    Attributes:
        probe: index of the probe into the N sequences.
        nearest: indices of the nearest gallery sequences, nearest first.
        distances: their distances.
        right: whether each shows the probe's subject.
        match: index of the nearest true match.
        match_distance: the distance of the nearest true match.
        rank: the rank of the nearest true match.
    """

    probe: int
    nearest: tuple[int, ...]
    distances: tuple[float, ...]
    right: tuple[bool, ...]
    match: int
    match_distance: float
    rank: int


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of one probe group.

    Attributes:
        probes: (M,) indices into the N sequences.
        probe_views: (M,) names.
        gallery: (G,) indices into the N sequences, in the order of the columns.
        gallery_views: names of the columns; empty for the whole gallery.
        unmatched: how a probe without a true match is treated (`ProbeGroup.unmatched`).
        compared: (M, V) bool, whether the means include the comparison.
        ranks: (M, V) ranks of the nearest true match, NaN without one. Those of the identical view are included, as if
            nothing were excluded there, for matrices by view.
        values: name -> (M, V) other measures in 0..1, likewise.
        match: (M, V) distances of the nearest true match, inf without one; None unless `Options.searches`.
        other: (M, V) distances of the nearest other subject, likewise.
        pairs: the distances of all pairs; None unless `Options.pairs`.
        confusions: the comparisons with the largest margin between the nearest true match and the nearest other
            subject, one for each subject.
    """

    probes: np.ndarray
    probe_views: np.ndarray
    gallery: np.ndarray
    gallery_views: tuple[str, ...]
    unmatched: str
    compared: np.ndarray
    ranks: np.ndarray
    values: Mapping[str, np.ndarray]
    match: np.ndarray | None
    other: np.ndarray | None
    pairs: PairDistances | None
    confusions: tuple[Confusion, ...]

    def scores(self, name: str) -> np.ndarray:
        """Return a measure of each comparison in percent: (M, V), NaN if it is not counted."""
        if name.startswith("rank-"):
            found = within(torch.from_numpy(self.ranks), int(name.removeprefix("rank-"))).numpy()
        else:
            found = self.values[name]
        return 100 * (np.nan_to_num(found, nan=0.0) if self.unmatched == "counted as wrong" else found)

    def by_view(self, scores: np.ndarray) -> dict[str, float]:
        """Return probe view -> mean over the gallery views; views without scores are skipped."""
        cells = mean_by_view(np.where(self.compared, scores, np.nan), self.probe_views, self.gallery_views)
        means = {view: mean(row) for view, row in zip(cells.views, cells.values, strict=True)}
        return {view: value for view, value in means.items() if not np.isnan(value)}

    def mean(self, name: str) -> float:
        """Return a measure of the group in percent: the mean over probes, then gallery views, then probe views."""
        scores = self.scores(name)
        return mean(self.by_view(scores).values()) if self.gallery_views else mean(scores)

    def searches(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the arguments of `identify`, for the searches whose gallery is not empty after the exclusion."""
        assert self.match is not None
        assert self.other is not None
        is_search = np.isfinite(self.match) | np.isfinite(self.other)
        return self.match[is_search], self.other[is_search], self.ranks[is_search] == 1


def compare(
    sequences: Sequences,
    members: Mapping[str, np.ndarray],
    gallery: np.ndarray,
    protocol: Protocol,
    options: Options,
) -> dict[str, Comparisons]:
    """Compare the probes of groups that share a gallery; each probe is compared once.

    Args:
        sequences: all N sequences; views are named as the protocol distinguishes them (`Protocol.view_name`).
        members: group -> (N,) bool, its probes.
        gallery: (G,) indices, at least one.
        protocol: the exclusion, and whether the gallery is searched one view at a time.
        options: what is computed.

    Returns:
        Group -> its comparisons.
    """
    found = _DistancePass(sequences, members, gallery, protocol, options)
    for block, distances in found.blocks():
        # A few probes at a time, so that their masks stay small beside the distances.
        step = max(1, _MASK // len(gallery))
        for start in range(block.start, block.stop, step):
            rows = slice(start, min(start + step, block.stop))
            found.add(rows, distances[rows.start - block.start : rows.stop - block.start])
    return {name: found.of(name, member) for name, member in members.items()}


class _DistancePass:
    """The state of a pass; arrays are (M, V) over the probes of all groups."""

    def __init__(
        self,
        sequences: Sequences,
        members: Mapping[str, np.ndarray],
        gallery: np.ndarray,
        protocol: Protocol,
        options: Options,
    ) -> None:
        self.sequences, self.protocol, self.options = sequences, protocol, options
        self.probes = np.flatnonzero(np.any([*members.values()], axis=0))
        self.views: tuple[str, ...] = ()
        self.columns = [slice(0, len(gallery))]
        if protocol.one_view_at_a_time:
            # Sorted by view, stable within a view: the gallery of a view is a slice of the columns.
            gallery = gallery[np.argsort(sequences.views[gallery], kind="stable")]
            names, starts = np.unique(sequences.views[gallery], return_index=True)
            self.views = tuple(names.tolist())
            self.columns = [slice(a, b) for a, b in pairwise([*starts.tolist(), len(gallery)])]
        self.gallery = gallery
        self.probe_rows, self.gallery_rows = torch.from_numpy(self.probes), torch.from_numpy(gallery)
        codes = [_codes(names).to(options.device) for names in (sequences.ids, sequences.views)]
        self.probe_ids, self.probe_views = (code[self.probe_rows.to(code.device)] for code in codes)
        self.gallery_ids, self.gallery_views = (code[self.gallery_rows.to(code.device)] for code in codes)
        shape = len(self.probes), len(self.columns)
        self.compared = np.ones(shape, bool)
        if protocol.one_view_at_a_time and protocol.exclusion != "nothing":
            self.compared = sequences.views[self.probes][:, None] != np.array(self.views, dtype=str)
        self.ranks = np.full(shape, np.nan)
        others = [name for name in protocol.measures if not name.startswith("rank-")]
        self.values = {name: np.full(shape, np.nan) for name in (*others, CHANCE)}
        self.match, self.other = np.full(shape, np.inf), np.full(shape, np.inf)
        # Groups of the same probes have the same pairs and confusions.
        self.same = {g: next(o for o in members if np.array_equal(members[o], members[g])) for g in members}
        self.members = {group: members[group][self.probes] for group in dict.fromkeys(self.same.values())}
        self.pairs = {group: PairDistances() for group in self.members if options.pairs}
        self.hardest = {group: _Hardest(CONFUSIONS) for group in self.members if options.confusions}

    def blocks(self) -> Iterable[tuple[slice, Tensor]]:
        """Yield the distances, one block of probes at a time."""
        features, options = self.sequences.features, self.options
        rows = self.probe_rows, self.gallery_rows
        if options.re_rank is not None:
            return reranked_blocks(features, *rows, options.re_rank, options.metric, options.max_bytes, options.device)
        return distance_blocks(features, features, options.metric, options.max_bytes, options.device, *rows)

    def add(self, rows: slice, distance: Tensor) -> None:
        """Add the distances (m, G) of some probes."""
        one_view, exclusion, options = self.protocol.one_view_at_a_time, self.protocol.exclusion, self.options
        match = self.probe_ids[rows, None] == self.gallery_ids
        excluded = None
        # One view at a time, all excluded pairs are in the column of the identical view: only pairs need a mask.
        if exclusion != "nothing" and (options.pairs or not one_view):
            excluded = self.probe_views[rows, None] == self.gallery_views
            if exclusion == "same id in the same view":
                excluded &= match
        for number, column in enumerate(self.columns):
            without = None if one_view or excluded is None else excluded[:, column]
            block = distance[:, column], match[:, column]
            self.ranks[rows, number] = first_match_rank(*block, without).cpu().numpy()
            for name, values in self.values.items():
                values[rows, number] = measure(name, *block, without).cpu().numpy()
            if options.searches:
                for nearest, found in zip((self.match, self.other), _nearest(*block, without), strict=True):
                    nearest[rows, number] = found.cpu().numpy()
        if one_view and exclusion != "nothing":
            self.match[rows][~self.compared[rows]] = np.inf
            if exclusion == "identical view":
                self.other[rows][~self.compared[rows]] = np.inf
        for group, pairs in self.pairs.items():
            member = torch.from_numpy(self.members[group][rows]).to(distance.device)
            _add_pairs(pairs, member, distance, match, excluded)
        for group, hardest in self.hardest.items():
            self._add_confusions(hardest, self.members[group][rows], rows, distance, None if one_view else excluded)

    def _add_confusions(
        self, hardest: _Hardest, member: np.ndarray, rows: slice, distance: Tensor, excluded: Tensor | None
    ) -> None:
        wrong = member[:, None] & self.compared[rows] & (self.ranks[rows] > 1)
        indices = np.argwhere(wrong)
        margin = self.match[rows][wrong] - self.other[rows][wrong]
        for number in np.argsort(-margin, kind="stable").tolist():
            if not hardest.accepts(float(margin[number])):
                break
            row, column = indices[number].tolist()
            probe, part = int(self.probes[rows.start + row]), self.columns[column]
            subject = str(self.sequences.ids[probe])
            if hardest.accepts(float(margin[number]), subject):
                near = distance[row, part]
                if excluded is not None:
                    near = near.masked_fill(excluded[row, part], torch.inf)
                gallery = self.gallery[part]
                hit = self.sequences.ids[gallery] == subject
                hardest.add(float(margin[number]), subject, _confusion(probe, gallery, near.cpu().numpy(), hit))

    def of(self, name: str, member: np.ndarray) -> Comparisons:
        """Return the comparisons of one group."""
        rows, same, searches = member[self.probes], self.same[name], self.options.searches
        return Comparisons(
            probes=self.probes[rows],
            probe_views=self.sequences.views[self.probes[rows]],
            gallery=self.gallery,
            gallery_views=self.views,
            unmatched=self.protocol.groups[name].unmatched,
            compared=self.compared[rows],
            ranks=self.ranks[rows],
            values={name: values[rows] for name, values in self.values.items()},
            match=self.match[rows] if searches else None,
            other=self.other[rows] if searches else None,
            pairs=self.pairs.get(same),
            confusions=self.hardest[same].found() if same in self.hardest else (),
        )


class _Hardest:
    """The hardest confusions so far, one for each subject; the first of equals is kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.of_subject: dict[str, tuple[float, Confusion]] = {}

    def accepts(self, margin: float, subject: str | None = None) -> bool:
        """Return whether a confusion is harder than the kept one of its subject, or than the easiest of all."""
        if subject in self.of_subject:
            return margin > self.of_subject[subject][0]
        return len(self.of_subject) < self.most or margin > min(b for b, _ in self.of_subject.values())

    def add(self, margin: float, subject: str, confusion: Confusion) -> None:
        """Keep a confusion; it replaces the one of its subject, or the easiest if there are enough."""
        self.of_subject.pop(subject, None)
        if len(self.of_subject) == self.most:
            self.of_subject.pop(min(reversed(self.of_subject), key=lambda name: self.of_subject[name][0]))
        self.of_subject[subject] = margin, confusion

    def found(self) -> tuple[Confusion, ...]:
        """Return the confusions, hardest first."""
        return tuple(c for _, c in sorted(self.of_subject.values(), key=lambda entry: -entry[0]))


def _confusion(probe: int, gallery: np.ndarray, distance: np.ndarray, hit: np.ndarray) -> Confusion:
    """Return the confusion of a comparison with distances (G,), inf if excluded."""
    order = np.argsort(distance, kind="stable")
    nearest = order[:TOP][np.isfinite(distance[order[:TOP]])]
    first = int(np.flatnonzero(hit[order])[0])
    return Confusion(
        probe=probe,
        nearest=tuple(gallery[nearest].tolist()),
        distances=tuple(distance[nearest].tolist()),
        right=tuple(hit[nearest].tolist()),
        match=int(gallery[order[first]]),
        match_distance=float(distance[order[first]]),
        rank=first + 1,
    )


def _nearest(distance: Tensor, match: Tensor, excluded: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the distances of the nearest true match and of the nearest other subject, each (m,)."""
    considered = distance if excluded is None else distance.masked_fill(excluded, torch.inf)
    return considered.masked_fill(~match, torch.inf).amin(1), considered.masked_fill(match, torch.inf).amin(1)


def _add_pairs(pairs: PairDistances, member: Tensor, distance: Tensor, match: Tensor, excluded: Tensor | None) -> None:
    if not member.all():
        distance, match = distance[member], match[member]
        excluded = None if excluded is None else excluded[member]
    genuine, impostor = match, ~match
    if excluded is not None:
        genuine, impostor = match & ~excluded, impostor & ~excluded
    pairs.add(distance[genuine].cpu().numpy(), distance[impostor].cpu().numpy())


def _codes(names: np.ndarray) -> Tensor:
    return torch.from_numpy(np.unique(names, return_inverse=True)[1].reshape(-1))


def mean(values: Iterable[float] | np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    array = np.array([*values] if not isinstance(values, np.ndarray) else values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")
