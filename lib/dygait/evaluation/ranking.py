"""Retrieval measures, as pure functions of distances and labels, vectorised over probes.

Ranks count from 1. Ties are broken by the order of the gallery: the first sequence counts as nearer. A probe without a
true match in the gallery has no rank: its entry is NaN, and the caller decides how it counts.

Letters: M probes, G gallery sequences, V views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


def first_match_rank(distance: Tensor, match: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return the rank of each probe's nearest true match.

    Args:
        distance: (M, G), finite.
        match: (M, G) bool, whether the gallery sequence shows the subject of the probe.
        excluded: (M, G) bool, whether the gallery sequence is excluded for the probe; None excludes nothing.

    Returns:
        (M,) float64 ranks, NaN for a probe without a true match.
    """
    return _by_rows(_first, distance, match, excluded)


def within(ranks: Tensor, k: int) -> Tensor:
    """Return 1 for ranks of at most k, else 0: float64, NaN without a match."""
    return torch.where(ranks.isnan(), torch.nan, (ranks <= k).double())


def measure(name: str, distance: Tensor, match: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Return a measure of each probe: (M,) float64, NaN without a match; arguments as `first_match_rank`.

    - ``rank-<k>``: whether the rank of the nearest true match is at most k.
    - ``mAP``: average precision, the mean over the true matches of the precision at the match's rank.
    - ``mINP``: (number of true matches) / (rank of the last of them) (Ye et al., *Deep Learning for Person
      Re-identification: A Survey and Outlook*, TPAMI 2021).
    - ``chance``: the expected rank-1 of a random pick from the gallery.
    """
    if name == "mAP":
        return _by_rows(_average_precision, distance, match, excluded)
    if name == "mINP":
        return _by_rows(_inverse_negative_penalty, distance, match, excluded)
    if name == "chance":
        considered = match.shape[1] if excluded is None else (~excluded).sum(1)
        count = (match if excluded is None else match & ~excluded).sum(1).double()
        return torch.where(count > 0, count / considered, torch.nan)
    return within(first_match_rank(distance, match, excluded), int(name.removeprefix("rank-")))


class ByView(NamedTuple):
    """Means over the probes of one view, against the gallery of one view."""

    views: tuple[str, ...]  # V names, sorted
    values: np.ndarray  # (V, V) float64, probe view by gallery view; NaN for a cell without a probe that counts
    counted: np.ndarray  # (V, V) int64, the number of probes in each mean


def mean_by_view(scores: np.ndarray, probe_views: np.ndarray, gallery_views: Sequence[str]) -> ByView:
    """Average scores (M, gallery views) over the probes of each view; NaN is skipped.

    The result is over the sorted union of the probes' (M) and the gallery's views, which name the columns of `scores`.
    """
    views = np.union1d(probe_views, np.asarray(gallery_views, dtype=str))
    member = (views[:, None] == probe_views).astype(np.float64)
    present = ~np.isnan(scores)
    sums, counts = member @ np.where(present, scores, 0.0), member @ present
    columns = np.searchsorted(views, gallery_views)
    values = np.full((len(views), len(views)), np.nan)
    counted = np.zeros((len(views), len(views)), dtype=np.int64)
    values[:, columns] = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    counted[:, columns] = counts
    return ByView(tuple(views.tolist()), values, counted)


_CPU_BLOCK, _GPU_BLOCK = 2**22, 2**26
"""Number of distances in one block, which bounds the memory."""
_MANY_MATCHES = 32
"""With more true matches than this, sorting a row is cheaper than counting once for each of them."""


def _by_rows(
    function: Callable[[Tensor, Tensor], Tensor], distance: Tensor, match: Tensor, excluded: Tensor | None
) -> Tensor:
    """Apply a function of distances and matches to one block of probes at a time.

    Excluded gallery sequences get an infinite distance, and are no match.
    """
    result = distance.new_full((distance.shape[0],), torch.nan, dtype=torch.float64)
    if distance.shape[1] == 0:
        return result
    step = max(1, (_CPU_BLOCK if distance.device.type == "cpu" else _GPU_BLOCK) // distance.shape[1])
    for start in range(0, len(result), step):
        rows = slice(start, start + step)
        distances, matches = distance[rows], match[rows]
        if excluded is not None:
            distances, matches = distances.masked_fill(excluded[rows], torch.inf), matches & ~excluded[rows]
        result[rows] = function(distances, matches)
    return result


def _first(distance: Tensor, match: Tensor) -> Tensor:
    index = distance.masked_fill(~match, torch.inf).argmin(1)
    return torch.where(match.any(1), _rank_of(distance, index).double(), torch.nan)


def _inverse_negative_penalty(distance: Tensor, match: Tensor) -> Tensor:
    # argmax returns the first of equals; the last in the order of the gallery is the first in the reversed order.
    index = distance.shape[1] - 1 - distance.masked_fill(~match, -torch.inf).flip(1).argmax(1)
    return torch.where(match.any(1), match.sum(1) / _rank_of(distance, index).double(), torch.nan)


def _average_precision(distance: Tensor, match: Tensor) -> Tensor:
    counts = match.sum(1)
    largest = int(counts.max())
    if largest > _MANY_MATCHES:
        hits = match.gather(1, distance.argsort(dim=1, stable=True)).double()
        ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device)
        return (hits * hits.cumsum(1) / ranks).sum(1) / hits.sum(1)
    rows, columns = match.nonzero(as_tuple=True)
    nth = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    ranks = torch.full((len(counts), largest), torch.inf, dtype=torch.float64, device=rows.device)
    for k in range(largest):  # the k-th match of every probe that has one
        chosen = nth == k
        probes = rows[chosen]
        selected = distance if len(probes) == len(distance) else distance[probes]
        ranks[probes, k] = _rank_of(selected, columns[chosen]).double()
    # The n-th nearest match has n matches up to its rank; missing matches have rank inf and add 0.
    precision = torch.arange(1, largest + 1, device=rows.device) / ranks.sort(1).values
    return precision.sum(1) / counts


def _rank_of(distance: Tensor, index: Tensor) -> Tensor:
    """Return the rank of the gallery sequence `index` (M,): 1 + the number of nearer ones and of ties before it."""
    value = distance.gather(1, index[:, None])
    rank = 1 + (distance < value).sum(1)
    ties = ((distance <= value).sum(1) > rank).nonzero()[:, 0]
    if len(ties):
        before = torch.arange(distance.shape[1], device=distance.device) < index[ties, None]
        rank[ties] += ((distance[ties] == value[ties]) & before).sum(1)
    return rank
