"""k-reciprocal re-ranking (Zhong et al., *Re-ranking Person Re-identification with k-reciprocal Encoding*, CVPR 2017).

Sequences are compared by their neighbourhoods among all N sequences, probes and gallery together. The distance becomes
(1 - lambda) * (Jaccard distance of the neighbourhoods) + lambda * (distance over the largest in the probe's row). The
neighbourhood of i, as in the paper and the reference code:

    R(i, k)    the j among the k + 1 nearest of i that have i among their k + 1 nearest (i itself included)
    R*(i)      R(i, k1), and R(c, k1 / 2) of each c in it of which more than two thirds are in R(i, k1)
    V[i, j]    exp(-distance) for j in R*(i), else 0; a row sums to 1
    V[i]       then the mean of V over the k2 nearest of i
    Jaccard    1 - sum_j min(V[i, j], V[g, j]) / (2 - the same sum)

V is sparse, and only entries that two rows share are compared. The distances of all pairs are computed twice, in
blocks: for the neighbours, then for the entries of V.

Letters: N sequences in all, M probes, G gallery sequences, E entries of V.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from dygait.evaluation.distances import DEFAULT_MAX_BYTES, distance_blocks

Blocks = Callable[[Tensor, Tensor], Iterator[tuple[slice, Tensor]]]


@dataclass(frozen=True)
class ReRank:
    """The parameters of re-ranking."""

    k1: int = 6  # number of neighbours in a neighbourhood
    k2: int = 6  # number of nearest sequences whose rows of V are averaged; 1 for no averaging
    weight: float = 0.3  # lambda, the weight of the original distance, in 0..1

    @property
    def description(self) -> str:
        """The method in one sentence."""
        return (
            "k-reciprocal re-ranking over all probes and the whole gallery "
            f"(k1 {self.k1}, k2 {self.k2}, lambda {self.weight:g})"
        )


def blocks_between(
    features: Tensor,
    probes: np.ndarray,
    gallery: np.ndarray,
    settings: ReRank | None = None,
    metric: str = "euc",
    max_bytes: int = DEFAULT_MAX_BYTES,
    device: torch.device | str | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield the distances of probes to a gallery, re-ranked or plain, one block of probes at a time.

    A sequence is its own nearest neighbour, also if others are at distance 0. Other ties are broken by the order of
    probes, then gallery. Besides the memory of the blocks, re-ranking takes about 60 bytes for each of the E entries of
    V: at most N * k2 * (k1 + 1) * (k1 / 2 + 2), and about a tenth of that in practice.

    Args:
        features: (., C, P) of all sequences.
        probes: indices of the M probes.
        gallery: indices of the G gallery sequences.
        settings: the parameters of re-ranking; None for plain distances.
        metric: as `distance_blocks`, like what follows.

    Yields:
        The slice of the probes, and their (m, G) float32 distances on that device; re-ranked ones are in 0..1.
    """
    probe_rows, gallery_rows = torch.from_numpy(probes), torch.from_numpy(gallery)

    def blocks(rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, Tensor]]:
        return distance_blocks(features, features, metric, max_bytes, device, rows, columns)

    if settings is None:
        return blocks(probe_rows, gallery_rows)
    return _reranked(torch.cat([probe_rows, gallery_rows]), len(probes), settings, blocks, max_bytes)


def _reranked(
    rows: Tensor, probes: int, settings: ReRank, blocks: Blocks, max_bytes: int
) -> Iterator[tuple[slice, Tensor]]:
    count = min(len(rows), max(settings.k1 + 1, settings.k2))
    nearest = np.empty((len(rows), count), dtype=np.int64)
    largest = np.empty(len(rows))
    for block, distance in blocks(rows, rows):
        distance[:, block].fill_diagonal_(-1)  # nearer than any other sequence at distance 0
        nearest[block] = nearest_k(distance, count).cpu().numpy()
        largest[block] = distance.amax(1).double().cpu().numpy()
    largest[largest == 0] = 1  # all distances are 0
    encoded = _neighbourhoods(nearest, settings.k1)
    row_of_entry = np.repeat(np.arange(len(rows)), np.diff(encoded.indptr))
    for block, distance in blocks(rows, rows):
        entries = slice(encoded.indptr[block.start], encoded.indptr[block.stop])
        of_row, column = row_of_entry[entries], encoded.indices[entries].astype(np.int64)
        index = [torch.from_numpy(numbers).to(distance.device) for numbers in (of_row - block.start, column)]
        encoded.data[entries] = np.exp(-distance[index[0], index[1]].double().cpu().numpy() / largest[of_row])
    encoded.data /= np.add.reduceat(encoded.data, encoded.indptr[:-1])[row_of_entry]
    if settings.k2 > 1:
        encoded = _mean_over(nearest[:, : settings.k2], encoded)
    gallery = encoded[probes:].T.tocsr()
    for block, distance in blocks(rows[:probes], rows[probes:]):
        shared = _shared(encoded[block], gallery, max_bytes)
        jaccard = 1 - shared / (2 - shared)
        plain = distance.double().cpu().numpy() / largest[block, None]
        mixed = (1 - settings.weight) * jaccard + settings.weight * plain
        yield block, torch.from_numpy(mixed).float().to(distance.device)


def nearest_k(distance: Tensor, k: int) -> Tensor:
    """Return the k nearest of each row of finite distances (m, G), nearest first, ties in order: (m, k) int64."""
    values, columns = distance.topk(k, dim=1, largest=False)
    # topk returns any of equals; rows with a tie at the k-th distance are sorted completely.
    tied = ((distance <= values[:, -1:]).sum(1) > k).nonzero()[:, 0]
    order = columns.argsort(dim=1)
    columns, values = columns.gather(1, order), values.gather(1, order)
    columns = columns.gather(1, values.argsort(dim=1, stable=True))
    if len(tied):
        columns[tied] = distance[tied].argsort(dim=1, stable=True)[:, :k]
    return columns


def _neighbourhoods(nearest: np.ndarray, k1: int) -> csr_array:
    """Return which j are in R*(i), (N, N); `nearest` is (N, at least k1 + 1 or N)."""
    forward = nearest[:, : k1 + 1]
    half = nearest[:, : int(np.around(k1 / 2)) + 1]
    mutual, mutual_half = _reciprocal(forward), _reciprocal(half)
    rows, columns = [], []
    step = max(1, 2**23 // (forward.shape[1] ** 2 * half.shape[1]))
    for start in range(0, len(nearest), step):
        part = slice(start, min(start + step, len(nearest)))
        reciprocal = np.where(mutual[part], forward[part], -1)  # (m, k1 + 1)
        candidates, valid = half[forward[part]], mutual_half[forward[part]]  # (m, k1 + 1, k1 / 2 + 1)
        common = (valid & (candidates[..., None] == reciprocal[:, None, None, :]).any(-1)).sum(-1)
        accepted = mutual[part] & (common > 2 / 3 * valid.sum(-1))
        numbers = np.arange(part.start, part.stop)
        for mask, members in ((mutual[part], forward[part]), (accepted[..., None] & valid, candidates)):
            rows.append(np.broadcast_to(numbers.reshape(-1, *[1] * (members.ndim - 1)), members.shape)[mask])
            columns.append(members[mask])
    entries = np.concatenate(rows), np.concatenate(columns)
    neighbourhoods = csr_array((np.ones(len(entries[0])), entries), shape=(len(nearest), len(nearest)))
    neighbourhoods.sum_duplicates()  # sorts, too
    return neighbourhoods


def _reciprocal(nearest: np.ndarray) -> np.ndarray:
    """Return whether each neighbour has the sequence among its own neighbours: (N, k) bool."""
    is_mutual = np.empty(nearest.shape, dtype=bool)
    step = max(1, 2**23 // nearest.shape[1] ** 2)
    for start in range(0, len(nearest), step):
        part = slice(start, min(start + step, len(nearest)))
        is_mutual[part] = (nearest[nearest[part]] == np.arange(part.start, part.stop)[:, None, None]).any(-1)
    return is_mutual


def _mean_over(nearest: np.ndarray, encoded: csr_array) -> csr_array:
    """Return the mean of V over the nearest (N, k2) of each sequence."""
    count, k2 = nearest.shape
    selection = csr_array(
        (np.ones(nearest.size), nearest.reshape(-1), np.arange(0, nearest.size + 1, k2)), shape=(count, count)
    )
    mean = selection @ encoded
    mean.sort_indices()
    mean.data /= k2
    return mean


def _shared(probes: csr_array, gallery: csr_array, max_bytes: int) -> np.ndarray:
    """Return sum_j min(V[i, j], V[g, j]) of probes i, (m, N), and gallery sequences g, (N, G): (m, G)."""
    count, width = probes.shape[0], gallery.shape[1]
    shared = np.empty((count, width))
    # The entries of a few probes at a time, joined with the gallery's entries of the same columns.
    lengths = np.diff(gallery.indptr)
    cost = np.concatenate([[0], np.cumsum(lengths[probes.indices])])[probes.indptr]
    limit = max(1, max_bytes // 64)
    start = 0
    while start < count:
        stop = max(start + 1, int(np.searchsorted(cost, cost[start] + limit, side="right")) - 1)
        stop = min(stop, start + max(1, max_bytes // (16 * max(1, width))), count)
        block = probes[start:stop]
        repeats = lengths[block.indices]
        entry = np.repeat(np.arange(len(repeats)), repeats)
        within = np.arange(len(entry)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        gallery_entry = gallery.indptr[block.indices][entry] + within
        minima = np.minimum(block.data[entry], gallery.data[gallery_entry])
        row_of_entry = np.repeat(np.arange(stop - start), np.diff(block.indptr))
        cells = row_of_entry[entry] * width + gallery.indices[gallery_entry]
        shared[start:stop] = np.bincount(cells, minima, (stop - start) * width).reshape(stop - start, width)
        start = stop
    return shared
