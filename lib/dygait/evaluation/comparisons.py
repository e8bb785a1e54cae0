"""One pass over the distances of probes to a gallery: all that is reported or drawn derives from what it finds.

A *comparison* is a probe against the gallery of one view, or against the whole gallery, less what the protocol
excludes. Pairs of an excluded kind are in nothing that is counted. The identical view's comparison, where pairs of one
view are excluded, can have no true match: it is in no mean, whatever becomes of others without one. What is left of it,
of `same id in the same view` the impostors, are pairs and a search like others.

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
"""That are kept of a group."""
TOP = 5
"""Gallery sequences that are kept of a confusion."""
_MASK = 2**24
"""Entries of a mask of probes by gallery."""


@dataclass(frozen=True)
class Options:
    """How distances are computed, and what is looked at besides ranks.

    Attributes:
        metric: ``euc`` or ``cos``.
        device: where distances are computed.
        max_bytes: bound of the working memory of a block of distances.
        re_rank: re-rank the distances; None takes them as they are.
        pairs: whether the distances of all pairs are kept.
        searches: whether the distances of the nearest true match and of the nearest other subject are kept.
        confusions: whether the hardest confusions of each group are kept; they need `searches`.
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
    """A comparison in which somebody else is nearest.

    Attributes:
        probe: position of the probe among the N sequences.
        nearest: positions of the nearest gallery sequences, nearest first.
        distances: theirs.
        right: which of them show the probe's subject.
        match: position of the nearest true match.
        match_distance: its distance.
        rank: its rank.
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
    """What the pass found of one group of probes.

    Attributes:
        probes: (M,) positions among the N sequences.
        probe_views: (M,) names.
        gallery: (G,) positions, in the order of the columns.
        gallery_views: the columns' names; none for the whole gallery.
        unmatched: what becomes of a probe without any true match.
        compared: (M, V) bool, which comparisons the means are of.
        ranks: (M, V) ranks of the nearest true match, NaN without one; those of the identical view among them, as
            nothing were excluded there, for matrices of views.
        values: name -> (M, V) of other measures, 0..1, likewise.
        match: (M, V) distances of the nearest true match, inf without one; None where not asked for.
        other: (M, V) distances of the nearest other subject, likewise.
        pairs: the distances of all pairs; None where not asked for.
        confusions: the comparisons whose true match is farthest behind the nearest other, one for each subject.
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
        """Return a measure of each comparison in percent: (M, V), NaN where it does not count."""
        if name.startswith("rank-"):
            found = within(torch.from_numpy(self.ranks), int(name.removeprefix("rank-"))).numpy()
        else:
            found = self.values[name]
        return 100 * (np.nan_to_num(found, nan=0.0) if self.unmatched == "counted as wrong" else found)

    def by_view(self, scores: np.ndarray) -> dict[str, float]:
        """Return probe view -> mean over the gallery views; a view where nothing is left is left out."""
        cells = mean_by_view(np.where(self.compared, scores, np.nan), self.probe_views, self.gallery_views)
        means = {view: mean(row) for view, row in zip(cells.views, cells.values, strict=True)}
        return {view: value for view, value in means.items() if not np.isnan(value)}

    def mean(self, name: str) -> float:
        """Return a measure of the group in percent: over probes, then gallery views, then probe views."""
        scores = self.scores(name)
        return mean(self.by_view(scores).values()) if self.gallery_views else mean(scores)

    def searches(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the searches that take place, those in which anyone is left, as `identify` takes them."""
        assert self.match is not None
        assert self.other is not None
        takes_place = np.isfinite(self.match) | np.isfinite(self.other)
        return self.match[takes_place], self.other[takes_place], self.ranks[takes_place] == 1


def compare(
    sequences: Sequences,
    members: Mapping[str, np.ndarray],
    gallery: np.ndarray,
    protocol: Protocol,
    options: Options,
) -> dict[str, Comparisons]:
    """Compare the probes of some groups with the gallery that they share, each probe once.

    Args:
        sequences: all N; their views are those that the protocol tells apart.
        members: name of a group -> (N,) bool, its probes.
        gallery: (G,) positions, at least one.
        protocol: what is excluded, and whether the gallery is searched one view at a time.
        options: what is looked at.

    Returns:
        What was found, by the group's name.
    """
    found = _DistancePass(sequences, members, gallery, protocol, options)
    for block, distances in found.blocks():
        # Few probes at a time: their masks, too, stay small beside the distances.
        step = max(1, _MASK // len(gallery))
        for start in range(block.start, block.stop, step):
            rows = slice(start, min(start + step, block.stop))
            found.add(rows, distances[rows.start - block.start : rows.stop - block.start])
    return {name: found.of(name, member) for name, member in members.items()}


class _DistancePass:
    """What is found so far; arrays are (M, V), of the probes of all groups."""

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
            # Sorted by view, in its own order within a view: the gallery of a view is a slice of all distances.
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
        """Yield the distances a block of probes at a time."""
        features, options = self.sequences.features, self.options
        rows = self.probe_rows, self.gallery_rows
        if options.re_rank is not None:
            return reranked_blocks(features, *rows, options.re_rank, options.metric, options.max_bytes, options.device)
        return distance_blocks(features, features, options.metric, options.max_bytes, options.device, *rows)

    def add(self, rows: slice, distance: Tensor) -> None:
        """Take in the distances (m, G) of some probes."""
        one_view, exclusion, options = self.protocol.one_view_at_a_time, self.protocol.exclusion, self.options
        match = self.probe_ids[rows, None] == self.gallery_ids
        excluded = None
        # One view at a time, what is excluded is of one column, the identical view's; only pairs look at it singly.
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
        """Return what was found of one group."""
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
    """The hardest confusions so far, one for each subject; of equals the first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.of_subject: dict[str, tuple[float, Confusion]] = {}

    def accepts(self, margin: float, subject: str | None = None) -> bool:
        """Tell whether a confusion is harder than what there is: of its subject, and of all."""
        if subject in self.of_subject:
            return margin > self.of_subject[subject][0]
        return len(self.of_subject) < self.most or margin > min(b for b, _ in self.of_subject.values())

    def add(self, margin: float, subject: str, confusion: Confusion) -> None:
        """Keep one, in place of its subject's, else of the easiest, where there are enough."""
        self.of_subject.pop(subject, None)
        if len(self.of_subject) == self.most:
            self.of_subject.pop(min(reversed(self.of_subject), key=lambda name: self.of_subject[name][0]))
        self.of_subject[subject] = margin, confusion

    def found(self) -> tuple[Confusion, ...]:
        """Return them, the hardest first."""
        return tuple(c for _, c in sorted(self.of_subject.values(), key=lambda entry: -entry[0]))


def _confusion(probe: int, gallery: np.ndarray, distance: np.ndarray, hit: np.ndarray) -> Confusion:
    """Describe a comparison by its distances (G,), infinite where excluded."""
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
    """Mean of what is not NaN; NaN where nothing is left."""
    array = np.array([*values] if not isinstance(values, np.ndarray) else values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")
