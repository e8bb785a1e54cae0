"""What an evaluation shows beyond its percentages: curves, distances, confusions, a map. Pure functions of features.

Everything follows the protocol: what it excludes is in no curve, and where it searches the gallery one view at a time,
a probe meets each view's gallery by itself. Where there are very many pairs, probes and pairs are drawn at random, by
a seed, and the analysis says how many of how many.

Letters: N sequences, C channels, P parts, M probes, G gallery sequences, V columns (a gallery view, or all of it).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dygait.evaluation.distances import distance_blocks, pairwise_distance
from dygait.evaluation.evaluate import EvaluationResult, evaluate_detailed
from dygait.evaluation.protocols import PROTOCOLS, ProbeGroup, Protocol
from dygait.evaluation.ranking import first_match_rank, mean_by_view
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import Verification, verify

RANKS = 20
"""The cumulative match characteristic goes this far."""
RESAMPLES = 1000
"""Of the bootstrap over subjects, where the evaluation is made here."""
TOP = 5
"""Gallery sequences that are shown of a confusion."""
_BINS = 60
_FEW = 20
"""With fewer sequences than this t-SNE says nothing."""


@dataclass(frozen=True)
class Limits:
    """How much is looked at; more is sampled.

    Attributes:
        pairs: of a probe and a gallery sequence, for each group of probes: beyond it, probes are drawn.
        kept: genuine pairs, and impostor pairs, whose distance is kept for ROC and histogram.
        confusions: that are shown, for each group.
        subjects: in the map.
        points: sequences of a subject in the map.
        length_bins: classes of length.
    """

    pairs: int = 2**24
    kept: int = 2**22
    confusions: int = 4
    subjects: int = 8
    points: int = 48
    length_bins: int = 8


@dataclass(frozen=True)
class Pairs:
    """Distances of pairs of one subject (genuine) and of two (impostor), and what they say: same or not?

    Attributes:
        available: ``genuine`` and ``impostor`` -> how many pairs the comparisons have that were looked at.
        drawn: how many of them the histogram is of.
        verification: curve and rates: the evaluation's, which are of all pairs, or else of those drawn.
        threshold: the distance at which the two errors are equal, or nearly.
        edges: (B + 1,) distances, of the histogram.
        genuine: (B,) share of genuine pairs in each bin.
        impostor: (B,) likewise.
    """

    available: dict[str, int]
    drawn: dict[str, int]
    verification: Verification
    threshold: float
    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


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
class Share:
    """Error of some probes: the mean, over them, of the share of their comparisons that rank-1 gets wrong.

    Attributes:
        name: what they have in common.
        low: the fewest frames of one of them; 0 where lengths are not known.
        high: the most frames.
        median: frames.
        probes: how many.
        error: 0 to 1.
        spread: the standard error of that mean, taking probes as independent.
    """

    name: str
    low: int
    high: int
    median: float
    probes: int
    error: float
    spread: float


@dataclass(frozen=True)
class GroupAnalysis:
    """What is shown of a group of probes.

    Attributes:
        probes: how many there are.
        used: how many of them were looked at.
        cmc: (K,) percent at rank 1..K, averaged as the protocol averages its headline.
        pairs: None where there are no genuine or no impostor pairs.
        confusions: the hardest, of different subjects.
        by_length: classes of equal size, from short to long; empty where lengths are not known.
        by_type: a line for each type of probe.
    """

    probes: int
    used: int
    cmc: np.ndarray
    pairs: Pairs | None
    confusions: tuple[Confusion, ...]
    by_length: tuple[Share, ...]
    by_type: tuple[Share, ...]


@dataclass(frozen=True)
class EmbeddingMap:
    """Some sequences in the plane, near each other where their distance is small.

    Attributes:
        method: ``t-SNE`` or ``PCA``.
        sequences: (n,) positions among the N sequences.
        points: (n, 2).
    """

    method: str
    sequences: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """Everything that a report draws.

    Attributes:
        result: the evaluation.
        baseline: that of gait energy images; None where there are none.
        groups: group -> what is shown of it; the groups of `result`.
        map: the features of a few subjects.
        ids: N names.
        types: N names.
        views: N names.
        lengths: N numbers of frames; None where they are not known.
        seed: of everything that is drawn at random.
    """

    result: EvaluationResult
    baseline: EvaluationResult | None
    groups: dict[str, GroupAnalysis]
    map: EmbeddingMap
    ids: np.ndarray
    types: np.ndarray
    views: np.ndarray
    lengths: np.ndarray | None
    seed: int


def analyse(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
    *,
    lengths: Sequence[int] | np.ndarray | None = None,
    gei: Tensor | np.ndarray | None = None,
    result: EvaluationResult | None = None,
    baseline: EvaluationResult | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> Analysis:
    """Return everything that a report draws of some features under a protocol.

    Args:
        features: as `evaluate`.
        ids: as `evaluate`.
        types: as `evaluate`.
        views: as `evaluate`.
        protocol: as `evaluate`.
        metric: as `evaluate`.
        probes: as `evaluate`.
        lengths: N numbers of frames, where they are known.
        gei: (N, H * W, 1) gait energy images, for the baseline; None: no baseline.
        result: the evaluation, where it has been made already.
        baseline: that of the gait energy images, likewise.
        device: where distances are computed; None stands for where the features are.
        seed: of what is drawn at random.
        limits: how much is looked at.

    Raises:
        UserError: as `evaluate`.
    """
    chosen = PROTOCOLS.get(protocol) if isinstance(protocol, str) else protocol
    limits = limits or Limits()
    names = (ids, types, views)
    if result is None:
        further: dict[str, Any] = {"intervals": RESAMPLES, "verification": True, "open_set": True}
        result = evaluate_detailed(features, *names, chosen, metric, probes, device, **further)
    if baseline is None and gei is not None:
        baseline = evaluate_detailed(gei, *names, chosen, "euc", probes, device)
    sequences = Sequences.checked(features, *names)
    frames = None if lengths is None else np.asarray(lengths, dtype=np.int64)
    groups: dict[str, GroupAnalysis] = {}
    used = np.zeros(len(sequences.ids), bool)
    for group in chosen.groups:
        if group.name not in result.percentages:
            continue
        rng = np.random.default_rng((seed, len(groups)))
        compared = _compare(sequences, group, chosen, metric, probes, device, limits, rng)
        used[compared.probes] = used[compared.gallery] = True
        groups[group.name] = GroupAnalysis(
            probes=compared.available,
            used=len(compared.probes),
            cmc=_cmc(compared, sequences, group, chosen),
            pairs=_pairs(compared, result.verification.get(group.name)),
            confusions=_confusions(compared, sequences, chosen, metric, device, limits.confusions),
            by_length=_by_length(compared, frames, limits.length_bins),
            by_type=_by_type(compared, sequences.types, frames),
        )
    return Analysis(
        result,
        baseline,
        groups,
        embedding_map(sequences, np.flatnonzero(used), metric, seed, limits),
        sequences.ids,
        sequences.types,
        sequences.views,
        frames,
        seed,
    )


@dataclass(frozen=True)
class _Compared:
    """Comparisons of a group's probes; (M, V) arrays, NaN where the protocol has none or there is no true match."""

    available: int
    probes: np.ndarray
    gallery: np.ndarray
    columns: tuple[slice, ...]
    column_views: tuple[str, ...]
    considered: np.ndarray
    ranks: np.ndarray
    margins: np.ndarray  # distance of the nearest true match less that of the nearest other
    distances: dict[str, np.ndarray]
    pairs: dict[str, int]

    def errors(self) -> np.ndarray:
        """Return each probe's share of wrong comparisons: (M,), NaN for a probe without any."""
        wrong = np.where(np.isnan(self.ranks), np.nan, self.ranks > 1)
        counted = (~np.isnan(wrong)).sum(1)
        return np.where(counted > 0, np.nansum(wrong, 1) / np.maximum(counted, 1), np.nan)


def _compare(
    sequences: Sequences,
    group: ProbeGroup,
    protocol: Protocol,
    metric: str,
    listed: Collection[str] | None,
    device: torch.device | str | None,
    limits: Limits,
    rng: np.random.Generator,
) -> _Compared:
    gallery = np.flatnonzero(sequences.select(group.gallery or protocol.gallery, listed))
    everyone = np.flatnonzero(sequences.select(group.probes, listed))
    most = max(1, limits.pairs // len(gallery))
    probes = everyone if len(everyone) <= most else np.sort(rng.choice(everyone, most, replace=False))
    columns: tuple[slice, ...] = (slice(0, len(gallery)),)
    views: tuple[str, ...] = ("",)
    if protocol.one_view_at_a_time:
        gallery = gallery[np.argsort(sequences.views[gallery], kind="stable")]
        names, starts = np.unique(sequences.views[gallery], return_index=True)
        views = tuple(names.tolist())
        columns = tuple(slice(a, b) for a, b in pairwise([*starts.tolist(), len(gallery)]))
    target = torch.device(device) if device is not None else sequences.features.device
    rows_of_probes, rows_of_gallery = torch.from_numpy(probes), torch.from_numpy(gallery)
    id_codes, view_codes = (
        torch.from_numpy(np.unique(n, return_inverse=True)[1].reshape(-1)).to(target)
        for n in (sequences.ids, sequences.views)
    )
    shape = len(probes), len(columns)
    considered = np.zeros(shape, bool)
    ranks, margins = np.full(shape, np.nan), np.full(shape, np.nan)
    kept: dict[str, list[np.ndarray]] = {"genuine": [], "impostor": []}
    pairs = dict.fromkeys(kept, 0)
    share = min(1.0, 1.05 * limits.kept / max(1, len(probes) * len(gallery)))
    features = sequences.features
    for rows, distance in distance_blocks(
        features, features, metric, device=target, probe_rows=rows_of_probes, gallery_rows=rows_of_gallery
    ):
        here = rows_of_probes[rows]
        match = id_codes[here, None] == id_codes[rows_of_gallery]
        excluded = _excluded(protocol, view_codes[here, None] == view_codes[rows_of_gallery], match)
        true, other = match & ~excluded, ~match & ~excluded
        for number, column in enumerate(columns):
            part = distance[:, column]
            rank = first_match_rank(part, match[:, column], excluded[:, column])
            near = part.masked_fill(~true[:, column], torch.inf).amin(1)
            far = part.masked_fill(~other[:, column], torch.inf).amin(1)
            considered[rows, number] = (~excluded[:, column]).any(1).cpu().numpy()
            ranks[rows, number] = rank.cpu().numpy()
            margins[rows, number] = torch.where(near.isinf() | far.isinf(), torch.nan, near - far).cpu().numpy()
        for kind, chosen in (("genuine", true), ("impostor", other)):
            values = distance[chosen].cpu().numpy()
            pairs[kind] += len(values)
            # Of few genuine pairs none is dropped; impostors are many.
            few = kind == "genuine" and len(probes) * len(gallery) <= limits.pairs
            kept[kind].append(values if few or share == 1 else values[rng.random(len(values)) < share])
    distances = {kind: np.concatenate([*found, np.empty(0, np.float32)]) for kind, found in kept.items()}
    return _Compared(len(everyone), probes, gallery, columns, views, considered, ranks, margins, distances, pairs)


def _cmc(compared: _Compared, sequences: Sequences, group: ProbeGroup, protocol: Protocol) -> np.ndarray:
    """Average the hits within rank k as `evaluate_detailed` averages rank-k."""
    ranks = compared.ranks
    if group.unmatched == "counted as wrong":
        ranks = np.where(np.isnan(ranks) & compared.considered, np.inf, ranks)
    views = sequences.views[compared.probes]
    found = []
    for k in range(1, RANKS + 1):
        hits = np.where(np.isnan(ranks), np.nan, 100.0 * (ranks <= k))
        if protocol.one_view_at_a_time:
            cells = mean_by_view(hits, views, compared.column_views).values
            means = [row[~np.isnan(row)].mean() for row in cells if not np.isnan(row).all()]
            found.append(float(np.mean(means)) if means else np.nan)
        else:
            found.append(float(np.nanmean(hits)) if not np.isnan(hits).all() else np.nan)
    return np.array(found)


def _pairs(compared: _Compared, known: Verification | None) -> Pairs | None:
    genuine, impostor = (compared.distances[kind] for kind in ("genuine", "impostor"))
    if not len(genuine) or not len(impostor):
        return None
    found = known or verify(genuine, impostor)
    balanced = int(np.abs(found.roc.far - (1 - found.roc.tar)).argmin())
    low, high = min(genuine.min(), impostor.min()), max(genuine.max(), impostor.max())
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    shares = [np.histogram(distances, edges)[0] / len(distances) for distances in (genuine, impostor)]
    drawn = {"genuine": len(genuine), "impostor": len(impostor)}
    return Pairs(compared.pairs, drawn, found, float(found.roc.thresholds[balanced]), edges, *shares)


def tar_at(pairs: Pairs, fars: np.ndarray) -> np.ndarray:
    """Return the ROC at some false accept rates: the largest TAR whose FAR is not larger."""
    curve = pairs.verification.roc
    return np.asarray(curve.tar[np.searchsorted(curve.far, fars, side="right") - 1])


def _excluded(protocol: Protocol, same_view: Tensor, match: Tensor) -> Tensor:
    """Return which pairs the protocol does not compare; of one view at a time, none within that view."""
    if protocol.exclusion == "nothing":
        return torch.zeros_like(match)
    if protocol.exclusion == "identical view" or protocol.one_view_at_a_time:
        return same_view
    return same_view & match


def _confusions(
    compared: _Compared,
    sequences: Sequences,
    protocol: Protocol,
    metric: str,
    device: torch.device | str | None,
    most: int,
) -> tuple[Confusion, ...]:
    """Return the comparisons whose true match is farthest behind the nearest other, one for each subject."""
    rows, columns = np.nonzero((compared.ranks > 1) & ~np.isnan(compared.margins))
    order = np.argsort(-compared.margins[rows, columns], kind="stable")
    seen: set[str] = set()
    found = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        subject = str(sequences.ids[compared.probes[row]])
        if subject in seen:
            continue
        seen.add(subject)
        probe, gallery = int(compared.probes[row]), compared.gallery[compared.columns[column]]
        found.append(_confusion(sequences, protocol, metric, device, probe, gallery))
        if len(found) == most:
            break
    return tuple(found)


def _confusion(
    sequences: Sequences,
    protocol: Protocol,
    metric: str,
    device: torch.device | str | None,
    probe: int,
    gallery: np.ndarray,
) -> Confusion:
    match = torch.from_numpy(sequences.ids[gallery] == sequences.ids[probe])
    same_view = torch.from_numpy(sequences.views[gallery] == sequences.views[probe])
    allowed = (~_excluded(protocol, same_view, match)).numpy()
    compared, hit = gallery[allowed], match.numpy()[allowed]
    features = sequences.features
    target = features.device if device is None else torch.device(device)
    one, others = (features[torch.from_numpy(rows)].to(target) for rows in (np.array([probe]), compared))
    distance = pairwise_distance(one, others, metric)[0].cpu().numpy()
    order = np.argsort(distance, kind="stable")
    first = int(np.flatnonzero(hit[order])[0])
    nearest = order[:TOP]
    return Confusion(
        probe=probe,
        nearest=tuple(compared[nearest].tolist()),
        distances=tuple(distance[nearest].tolist()),
        right=tuple(hit[nearest].tolist()),
        match=int(compared[order[first]]),
        match_distance=float(distance[order[first]]),
        rank=first + 1,
    )


def _by_length(compared: _Compared, lengths: np.ndarray | None, bins: int) -> tuple[Share, ...]:
    """Return classes of about equally many probes, from short to long; probes of one length are in one class."""
    if lengths is None:
        return ()
    errors = compared.errors()
    counted = ~np.isnan(errors)
    frames, errors = lengths[compared.probes][counted], errors[counted]
    if not len(frames):
        return ()
    inner = np.unique(np.quantile(frames, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    classes = np.searchsorted(inner, frames, side="right")
    return tuple(_share("", frames[classes == c], errors[classes == c]) for c in np.unique(classes).tolist())


def _by_type(compared: _Compared, types: np.ndarray, lengths: np.ndarray | None) -> tuple[Share, ...]:
    errors = compared.errors()
    counted = ~np.isnan(errors)
    probes, errors = compared.probes[counted], errors[counted]
    frames = np.zeros(len(probes), np.int64) if lengths is None else lengths[probes]
    kinds = types[probes]
    return tuple(_share(kind, frames[kinds == kind], errors[kinds == kind]) for kind in np.unique(kinds).tolist())


def _share(name: str, frames: np.ndarray, errors: np.ndarray) -> Share:
    spread = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
    low, high, median = int(frames.min()), int(frames.max()), float(np.median(frames))
    return Share(name, low, high, median, len(errors), float(errors.mean()), spread)


def embedding_map(sequences: Sequences, among: np.ndarray, metric: str, seed: int, limits: Limits) -> EmbeddingMap:
    """Place some sequences of a few subjects in the plane: t-SNE of their distances, PCA where they are few.

    t-SNE (van der Maaten and Hinton, *Visualizing Data using t-SNE*, JMLR 2008) sees the distances that are evaluated,
    and begins at the first two principal components, so that it is the same at every call.

    Args:
        sequences: features and names.
        among: positions of those that may be chosen.
        metric: the distance.
        seed: of the choice of subjects and of their sequences.
        limits: how many.
    """
    rng = np.random.default_rng(seed)
    subjects = np.unique(sequences.ids[among])
    if len(subjects) > limits.subjects:
        subjects = np.sort(rng.choice(subjects, limits.subjects, replace=False))
    chosen = []
    for subject in subjects.tolist():
        rows = among[sequences.ids[among] == subject]
        chosen.append(rows if len(rows) <= limits.points else np.sort(rng.choice(rows, limits.points, replace=False)))
    rows = np.concatenate(chosen)
    features = sequences.features[torch.from_numpy(rows)].cpu().float()
    start = principal_components(features.flatten(1).numpy().astype(np.float64), 2)
    if len(rows) < _FEW:
        return EmbeddingMap("PCA", rows, start)
    from sklearn.manifold import TSNE  # takes a second to import

    distance = pairwise_distance(features, features, metric).numpy()
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    spread = max(float(start[:, 0].std()), 1e-12)
    placed = TSNE(
        metric="precomputed",
        init=(1e-4 / spread * start).astype(np.float32),
        perplexity=min(30.0, (len(rows) - 1) / 3),
        random_state=seed,
        n_jobs=1,
    ).fit_transform(distance)
    return EmbeddingMap("t-SNE", rows, np.asarray(placed, np.float64))


def principal_components(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the first principal components of n vectors: (n, count), zeros where there are not so many."""
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred @ centred.T)
    found = np.zeros((len(vectors), count))
    for place in range(min(count, len(vectors))):
        axis = axes[:, -1 - place]
        # The sign of an axis is arbitrary: the largest entry is made positive.
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        found[:, place] = axis * np.sqrt(max(values[-1 - place], 0.0))
    return found
