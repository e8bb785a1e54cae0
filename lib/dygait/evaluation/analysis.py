"""Curves, histograms of distances, confusions and an embedding map of an evaluation. Pure functions of features.

All but the map is derived from the comparisons of the evaluation, so that a report is consistent with its numbers.

Letters: N sequences, C channels, P parts, M probes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dygait.config.schema import Protocol
from dygait.evaluation.comparisons import Comparisons, Confusion
from dygait.evaluation.distances import pairwise_distance
from dygait.evaluation.evaluate import EvaluationResult, evaluate_detailed
from dygait.evaluation.reranking import ReRank
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import Verification

RANKS = 20
"""The last rank of the cumulative match characteristic."""
RESAMPLES = 1000
"""Resamples of the bootstrap over subjects, if the evaluation is computed here."""
_BINS = 60
_TSNE_MIN = 20
"""With fewer sequences than this, PCA replaces t-SNE."""


@dataclass(frozen=True)
class AnalysisLimits:
    """Upper limits of what is shown.

    Attributes:
        subjects: subjects in the map; of more, a random sample is drawn.
        points: sequences of each subject in the map, sampled likewise.
        length_bins: number of length classes.
    """

    subjects: int = 8
    points: int = 48
    length_bins: int = 8


@dataclass(frozen=True)
class PairAnalysis:
    """Distances of pairs of one subject (genuine) and of two (impostor), and the verification rates that follow.

    Attributes:
        verification: ROC, rates and numbers of pairs.
        threshold: the distance at which FAR and FRR are closest to each other.
        edges: (B + 1,) edges of the histogram.
        genuine: (B,) share of genuine pairs in each bin.
        impostor: (B,) likewise.
    """

    verification: Verification
    threshold: float
    edges: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray


@dataclass(frozen=True)
class ProbeErrors:
    """Rank-1 error of a class of probes: the mean over probes of the share of their comparisons that are wrong.

    Attributes:
        name: the class; empty for a class of lengths.
        low: the smallest number of frames; 0 if lengths are not known.
        high: the largest number of frames.
        median: the median number of frames.
        probes: number of probes.
        error: in 0..1.
        spread: the standard error of that mean, assuming independent probes.
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
    """Analysis of one probe group.

    Attributes:
        probes: number of probes.
        cmc: (K,) percent at rank 1..K, averaged as the protocol averages its headline.
        pairs: None if there are no genuine or no impostor pairs.
        confusions: the hardest confusions, one for each subject.
        by_length: classes of about equal size, from short to long; empty if lengths are not known.
        by_type: one entry for each type of probe.
    """

    probes: int
    cmc: np.ndarray
    pairs: PairAnalysis | None
    confusions: tuple[Confusion, ...]
    by_length: tuple[ProbeErrors, ...]
    by_type: tuple[ProbeErrors, ...]


@dataclass(frozen=True)
class EmbeddingMap:
    """A two-dimensional embedding of some sequences.

    Attributes:
        method: ``t-SNE`` or ``PCA``.
        sequences: (n,) indices into the N sequences.
        points: (n, 2).
    """

    method: str
    sequences: np.ndarray
    points: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """Everything that a report shows.

    Attributes:
        result: the evaluation.
        baseline: the evaluation of gait energy images; None without them.
        groups: group -> its analysis; the groups of `result`.
        map: the embedding map of a few subjects.
        ids: (N,) subjects.
        types: (N,) sequence types.
        views: (N,) views.
        lengths: (N,) numbers of frames; None if they are not known.
        seed: the random seed.
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
    re_rank: ReRank | None = None,
    seed: int = 0,
    limits: AnalysisLimits | None = None,
) -> Analysis:
    """Return everything that a report shows of features under a protocol.

    Args:
        features: as `evaluate`.
        ids: as `evaluate`.
        types: as `evaluate`.
        views: as `evaluate`.
        protocol: as `evaluate`.
        metric: as `evaluate`.
        probes: as `evaluate`.
        lengths: (N,) numbers of frames, if known.
        gei: (N, H * W, 1) gait energy images for the baseline; None for no baseline.
        result: the evaluation with its comparisons (`keep=True`), if it has been computed already.
        baseline: the evaluation of the gait energy images, if it has been computed already.
        device: where distances are computed; None for the device of the features.
        re_rank: as `evaluate_detailed`.
        seed: the random seed.
        limits: upper limits of what is shown.

    Raises:
        UserError: as `evaluate`.
    """
    limits = limits or AnalysisLimits()
    inputs = ids, types, views, protocol
    if result is None:
        result = evaluate_detailed(
            features, *inputs, metric, probes, device,
            intervals=RESAMPLES, verification=True, open_set=True, re_rank=re_rank, keep=True,
        )  # fmt: skip
    if baseline is None and gei is not None:
        baseline = evaluate_detailed(gei, *inputs, "euc", probes, device, re_rank=re_rank)
    sequences = Sequences.checked(features, ids, types, views)
    frames = None if lengths is None else np.asarray(lengths, dtype=np.int64)
    groups: dict[str, GroupAnalysis] = {}
    used = np.zeros(len(sequences.ids), bool)
    for name in result.percentages:
        found = result.comparisons[name]
        used[found.probes] = used[found.gallery] = True
        errors = _errors(found)
        counted = ~np.isnan(errors)
        of_probes = found.probes[counted], errors[counted]
        groups[name] = GroupAnalysis(
            probes=len(found.probes),
            cmc=np.array([found.mean(f"rank-{k}") for k in range(1, RANKS + 1)]),
            pairs=_pairs(found, result.verification.get(name)),
            confusions=found.confusions,
            by_length=_by_length(*of_probes, frames, limits.length_bins),
            by_type=_by_type(*of_probes, sequences.types, frames),
        )
    coordinates = embedding_map(sequences, np.flatnonzero(used), metric, seed, limits)
    names = sequences.ids, sequences.types, sequences.views
    return Analysis(result, baseline, groups, coordinates, *names, frames, seed)


def _errors(found: Comparisons) -> np.ndarray:
    """Return the share of wrong comparisons of each probe: (M,), NaN without comparisons."""
    counts = found.compared & ~np.isnan(found.ranks)
    counted = counts.sum(1)
    return np.where(counted > 0, (counts & (found.ranks > 1)).sum(1) / np.maximum(counted, 1), np.nan)


def _pairs(found: Comparisons, known: Verification | None) -> PairAnalysis | None:
    assert found.pairs is not None
    rates = known or found.pairs.verification()
    if not rates.genuine or not rates.impostor:
        return None
    balanced = int(np.abs(rates.roc.far - (1 - rates.roc.tar)).argmin())
    edges, (genuine, impostor) = found.pairs.histogram(_BINS)
    threshold = float(rates.roc.thresholds[balanced])
    return PairAnalysis(rates, threshold, edges, genuine / rates.genuine, impostor / rates.impostor)


def tar_at(pairs: PairAnalysis, fars: np.ndarray) -> np.ndarray:
    """Return the TAR at given false accept rates: the largest TAR whose FAR is not larger."""
    curve = pairs.verification.roc
    return np.asarray(curve.tar[np.searchsorted(curve.far, fars, side="right") - 1])


def _by_length(
    probes: np.ndarray, errors: np.ndarray, lengths: np.ndarray | None, bins: int
) -> tuple[ProbeErrors, ...]:
    """Return classes of about equal size, from short to long; probes of equal length are in one class."""
    if lengths is None or not len(probes):
        return ()
    frames = lengths[probes]
    inner = np.unique(np.quantile(frames, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    classes = np.searchsorted(inner, frames, side="right")
    return tuple(_share("", frames[classes == c], errors[classes == c]) for c in np.unique(classes).tolist())


def _by_type(
    probes: np.ndarray, errors: np.ndarray, types: np.ndarray, lengths: np.ndarray | None
) -> tuple[ProbeErrors, ...]:
    frames = np.zeros(len(probes), np.int64) if lengths is None else lengths[probes]
    kinds = types[probes]
    return tuple(_share(kind, frames[kinds == kind], errors[kinds == kind]) for kind in np.unique(kinds).tolist())


def _share(name: str, frames: np.ndarray, errors: np.ndarray) -> ProbeErrors:
    spread = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
    low, high, median = int(frames.min()), int(frames.max()), float(np.median(frames))
    return ProbeErrors(name, low, high, median, len(errors), float(errors.mean()), spread)


def embedding_map(
    sequences: Sequences, among: np.ndarray, metric: str, seed: int, limits: AnalysisLimits
) -> EmbeddingMap:
    """Embed sequences of a few subjects in two dimensions, by t-SNE of their distances, or by PCA if they are few.

    t-SNE (van der Maaten and Hinton, *Visualizing Data using t-SNE*, JMLR 2008) uses the distances of the evaluation
    and is initialised with the first two principal components, so that it is deterministic.

    Args:
        sequences: features and names.
        among: indices of the sequences to choose from.
        metric: the distance.
        seed: the seed of the choice of subjects and sequences.
        limits: numbers of subjects and sequences.
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
    if len(rows) < _TSNE_MIN:
        return EmbeddingMap("PCA", rows, start)
    from sklearn.manifold import TSNE  # takes a second to import

    distance = pairwise_distance(features, features, metric).numpy()
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    spread = max(float(start[:, 0].std()), 1e-12)
    coordinates = TSNE(
        metric="precomputed",
        init=(1e-4 / spread * start).astype(np.float32),
        perplexity=min(30.0, (len(rows) - 1) / 3),
        random_state=seed,
        n_jobs=1,
    ).fit_transform(distance)
    return EmbeddingMap("t-SNE", rows, np.asarray(coordinates, np.float64))


def principal_components(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the first principal components of n vectors: (n, count), padded with zeros."""
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred @ centred.T)
    found = np.zeros((len(vectors), count))
    for index in range(min(count, len(vectors))):
        axis = axes[:, -1 - index]
        # The sign of an axis is arbitrary; make the largest entry positive, so that the result is deterministic.
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        found[:, index] = axis * np.sqrt(max(values[-1 - index], 0.0))
    return found
