"""One pass over the distances of probes to a gallery, from which all reported numbers and figures are derived.

A *comparison* is one probe against the gallery of one view, or against the whole gallery, without the pairs that the
protocol excludes. Excluded pairs are counted nowhere. If pairs of one view are excluded, the comparison with the
identical view has no true match, and no mean includes it. Its remaining pairs (the impostors, for `same id in the same
view`) count for verification, and form a non-mated search. A sequence that is a probe and in the gallery is never
compared with itself, whatever the protocol says.

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
from dygait.evaluation.distances import DEFAULT_MAX_BYTES
from dygait.evaluation.ranking import first_match_rank, mean_by_view, measure, within
from dygait.evaluation.reranking import ReRank, blocks_between
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import PairDistances

CHANCE = "chance"
CONFUSIONS = 4
"""Number of confusions kept for each group."""
TOP = 5
"""Number of nearest gallery sequences kept for each confusion."""
_MASK = 2**24
"""The largest number of entries of a mask (probes x gallery)."""


@dataclass(frozen=True)
class Options:
    """Options of the distances, and results besides the measures of the protocol."""

    device: torch.device | str | None = None  # where distances are computed; None for the device of the features
    max_bytes: int = DEFAULT_MAX_BYTES  # bound of the working memory of a block of distances
    re_rank: ReRank | None = None  # re-ranking, applied to the distances before anything else
    intervals: int = 0  # resamples of the bootstrap over subjects; 0 for no intervals
    verification: bool = False  # rates of all compared pairs, pooled over views; for their memory see `PairDistances`
    open_set: bool = False  # open-set rates; each comparison of a probe with a gallery is a search
    keep: bool = False  # keep the comparisons with their pairs, searches and confusions, for `analyse`


@dataclass(frozen=True)
class Confusion:
    """A comparison whose nearest gallery sequence shows another subject; sequences are indices into the N."""

    probe: int
    nearest: tuple[int, ...]  # the nearest gallery sequences, nearest first
    distances: tuple[float, ...]  # their distances
    right: tuple[bool, ...]  # whether each shows the probe's subject
    match: int  # the nearest true match
    match_distance: float
    rank: int  # the rank of the nearest true match


@dataclass(frozen=True)
class Comparisons:
    """The comparisons of one probe group.

    Ranks and values include those of the identical view, as if nothing were excluded there, for matrices by view.
    """

    probes: np.ndarray  # (M,) indices into the N sequences
    probe_views: np.ndarray  # (M,) names
    gallery: np.ndarray  # (G,) indices into the N sequences, in the order of the columns
    gallery_views: tuple[str, ...]  # names of the columns; empty for the whole gallery
    unmatched: str  # how a probe without a true match is treated (`ProbeGroup.unmatched`)
    compared: np.ndarray  # (M, V) bool, whether the means include the comparison
    ranks: np.ndarray  # (M, V) ranks of the nearest true match, NaN without one
    values: Mapping[str, np.ndarray]  # name -> (M, V) other measures in 0..1, NaN without a true match
    match: np.ndarray  # (M, V) distances of the nearest true match; inf without one, or if not requested
    other: np.ndarray  # (M, V) distances of the nearest other subject; inf likewise
    pairs: PairDistances | None  # the distances of all pairs, if requested
    confusions: tuple[Confusion, ...]  # those with the largest margins between match and other, one for each subject

    def scores(self, name: str) -> np.ndarray:
        """Return a measure of each comparison in percent: (M, V), NaN if it is not counted."""
        if name.startswith("rank-"):
            values = within(torch.from_numpy(self.ranks), int(name.removeprefix("rank-"))).numpy()
        else:
            values = self.values[name]
        return 100 * (np.nan_to_num(values, nan=0.0) if self.unmatched == "counted as wrong" else values)

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
        is_search = np.isfinite(self.match) | np.isfinite(self.other)
        return self.match[is_search], self.other[is_search], self.ranks[is_search] == 1


def compare(
    sequences: Sequences,
    members: Mapping[str, np.ndarray],
    gallery: np.ndarray,
    protocol: Protocol,
    metric: str,
    options: Options,
) -> dict[str, Comparisons]:
    """Compare the probes of groups that share a gallery, (G,) indices; each probe is compared once.

    Views are named as the protocol distinguishes them (`Protocol.view_name`). `members` maps each group to its probes,
    (N,) bool; the result maps it to its comparisons.
    """
    state = _DistancePass(sequences, members, gallery, protocol, options)
    for block, distances in blocks_between(
        sequences.features, state.probes, state.gallery, options.re_rank, metric, options.max_bytes, options.device
    ):
        # A few probes at a time, so that their masks stay small beside the distances.
        step = max(1, _MASK // len(gallery))
        for start in range(block.start, block.stop, step):
            rows = slice(start, min(start + step, block.stop))
            state.add(rows, distances[rows.start - block.start : rows.stop - block.start])
    return {name: state.comparisons(name, member) for name, member in members.items()}


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
        self.has_self_pairs = bool(np.isin(self.probes, gallery).any())
        device = options.device or sequences.features.device
        codes = [np.unique(names, return_inverse=True)[1].reshape(-1) for names in (sequences.ids, sequences.views)]
        self.probe_ids, self.probe_views = (torch.from_numpy(code[self.probes]).to(device) for code in codes)
        self.gallery_ids, self.gallery_views = (torch.from_numpy(code[gallery]).to(device) for code in codes)
        shape = len(self.probes), len(self.columns)
        self.compared = np.ones(shape, bool)
        if protocol.one_view_at_a_time and protocol.exclusion != "nothing":
            self.compared = sequences.views[self.probes][:, None] != np.array(self.views, dtype=str)
        self.ranks = np.full(shape, np.nan)
        other_measures = [name for name in protocol.measures if not name.startswith("rank-")]
        self.values = {name: np.full(shape, np.nan) for name in (*other_measures, CHANCE)}
        self.match, self.other = np.full(shape, np.inf), np.full(shape, np.inf)
        # Groups with the same probes share pairs and confusions, those of their representative.
        self.representative = {g: next(h for h in members if np.array_equal(members[h], members[g])) for g in members}
        self.members = {group: members[group][self.probes] for group in dict.fromkeys(self.representative.values())}
        self.pairs = {group: PairDistances() for group in self.members if options.verification or options.keep}
        self.confusions: dict[str, list[tuple[float, str, Confusion]]] = {group: [] for group in self.members}

    def add(self, rows: slice, distance: Tensor) -> None:
        """Add the distances (m, G) of some probes."""
        one_view, exclusion = self.protocol.one_view_at_a_time, self.protocol.exclusion
        match = self.probe_ids[rows, None] == self.gallery_ids
        excluded = self_pairs = self._self_pairs(rows, distance.device) if self.has_self_pairs else None
        # One view at a time, all pairs of excluded views are in the column of the identical view: only pairs need them.
        if exclusion != "nothing" and (self.pairs or not one_view):
            excluded = self.probe_views[rows, None] == self.gallery_views
            if exclusion == "same id in the same view":
                excluded &= match
            if self_pairs is not None:
                excluded |= self_pairs
        excluded_in_column = self_pairs if one_view else excluded
        for number, column in enumerate(self.columns):
            block_excluded = None if excluded_in_column is None else excluded_in_column[:, column]
            block = distance[:, column], match[:, column]
            self.ranks[rows, number] = first_match_rank(*block, block_excluded).cpu().numpy()
            for name, values in self.values.items():
                values[rows, number] = measure(name, *block, block_excluded).cpu().numpy()
            if self.options.open_set or self.options.keep:
                allowed = block[0] if block_excluded is None else block[0].masked_fill(block_excluded, torch.inf)
                self.match[rows, number] = allowed.masked_fill(~block[1], torch.inf).amin(1).cpu().numpy()
                self.other[rows, number] = allowed.masked_fill(block[1], torch.inf).amin(1).cpu().numpy()
        if one_view and exclusion != "nothing":
            self.match[rows][~self.compared[rows]] = np.inf
            if exclusion == "identical view":
                self.other[rows][~self.compared[rows]] = np.inf
        for group, pairs in self.pairs.items():
            member = torch.from_numpy(self.members[group][rows]).to(distance.device)
            _add_pairs(pairs, member, distance, match, excluded)
        if self.options.keep:
            for group in self.confusions:
                self._add_confusions(group, rows, distance, excluded_in_column)

    def _self_pairs(self, rows: slice, device: torch.device) -> Tensor:
        """Return whether each pair is a sequence and itself: (m, G) bool."""
        return torch.from_numpy(self.probes[rows, None] == self.gallery).to(device)

    def _add_confusions(self, group: str, rows: slice, distance: Tensor, excluded: Tensor | None) -> None:
        """Keep the hardest confusions so far, one for each subject; the first of equals is kept."""
        wrong = self.members[group][rows, None] & self.compared[rows] & (self.ranks[rows] > 1)
        indices, margins = np.argwhere(wrong), self.match[rows][wrong] - self.other[rows][wrong]
        entries = self.confusions[group]
        subjects: set[str] = set()
        weakest = entries[-1][0] if len(entries) == CONFUSIONS else -np.inf
        for number in np.argsort(-margins, kind="stable").tolist():
            margin, (row, column) = float(margins[number]), indices[number].tolist()
            if len(subjects) == CONFUSIONS or margin <= weakest:
                break
            probe, part = int(self.probes[rows.start + row]), self.columns[column]
            subject = str(self.sequences.ids[probe])
            if subject not in subjects:
                subjects.add(subject)
                allowed = distance[row, part]
                if excluded is not None:
                    allowed = allowed.masked_fill(excluded[row, part], torch.inf)
                match = self.sequences.ids[self.gallery[part]] == subject
                entries.append((margin, subject, _confusion(probe, self.gallery[part], allowed.cpu().numpy(), match)))
        hardest: dict[str, tuple[float, str, Confusion]] = {}
        for entry in sorted(entries, key=lambda entry: -entry[0]):
            hardest.setdefault(entry[1], entry)
        self.confusions[group] = [*hardest.values()][:CONFUSIONS]

    def comparisons(self, name: str, member: np.ndarray) -> Comparisons:
        """Return the comparisons of one group."""
        rows, representative = member[self.probes], self.representative[name]
        return Comparisons(
            probes=self.probes[rows],
            probe_views=self.sequences.views[self.probes[rows]],
            gallery=self.gallery,
            gallery_views=self.views,
            unmatched=self.protocol.groups[name].unmatched,
            compared=self.compared[rows],
            ranks=self.ranks[rows],
            values={name: values[rows] for name, values in self.values.items()},
            match=self.match[rows],
            other=self.other[rows],
            pairs=self.pairs.get(representative),
            confusions=tuple(confusion for _, _, confusion in self.confusions[representative]),
        )


def _confusion(probe: int, gallery: np.ndarray, distance: np.ndarray, match: np.ndarray) -> Confusion:
    """Return the confusion of a comparison with distances (G,), inf if excluded."""
    order = np.argsort(distance, kind="stable")
    nearest = order[:TOP][np.isfinite(distance[order[:TOP]])]
    first = int(np.flatnonzero(match[order])[0])
    return Confusion(
        probe=probe,
        nearest=tuple(gallery[nearest].tolist()),
        distances=tuple(distance[nearest].tolist()),
        right=tuple(match[nearest].tolist()),
        match=int(gallery[order[first]]),
        match_distance=float(distance[order[first]]),
        rank=first + 1,
    )


def _add_pairs(pairs: PairDistances, member: Tensor, distance: Tensor, match: Tensor, excluded: Tensor | None) -> None:
    if not member.all():
        distance, match = distance[member], match[member]
        excluded = None if excluded is None else excluded[member]
    genuine, impostor = match, ~match
    if excluded is not None:
        genuine, impostor = match & ~excluded, impostor & ~excluded
    pairs.add(distance[genuine].cpu().numpy(), distance[impostor].cpu().numpy())


def mean(values: Iterable[float] | np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    array = np.array([*values] if not isinstance(values, np.ndarray) else values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")
