"""Curves, histograms of distances, confusions and an embedding map of an evaluation. Pure functions of features.

All but the map is derived from the comparisons of the evaluation, so that a report is consistent with its numbers.

Letters: N sequences, C channels, P parts, M probes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dygait.evaluation.comparisons import Comparisons, Confusion
from dygait.evaluation.distances import pairwise_distance
from dygait.evaluation.evaluate import EvaluationResult
from dygait.evaluation.features import SavedFeatures
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import Verification

RANKS = 20
"""The last rank of the cumulative match characteristic."""
SEED = 0
"""The random seed of the map."""
_BINS = 60
_LENGTH_CLASSES = 8
_MAP_SUBJECTS, _MAP_POINTS = 8, 48
"""Subjects in the map, and sequences of each; of more, a random sample is drawn."""
_TSNE_MIN = 20
"""With fewer sequences than this, PCA replaces t-SNE."""


@dataclass(frozen=True)
class PairAnalysis:
    """Distances of pairs of one subject (genuine) and of two (impostor), and the verification rates that follow."""

    verification: Verification  # ROC, rates and numbers of pairs
    threshold: float  # the distance at which FAR and FRR are closest to each other
    edges: np.ndarray  # (B + 1,) edges of the histogram
    genuine: np.ndarray  # (B,) share of genuine pairs in each bin
    impostor: np.ndarray  # (B,) share of impostor pairs in each bin


@dataclass(frozen=True)
class ProbeErrors:
    """Rank-1 error of a class of probes: the mean over probes of the share of their comparisons that are wrong."""

    name: str  # the class; empty for a class of lengths
    low: int  # the smallest number of frames
    high: int  # the largest number of frames
    median: float  # the median number of frames
    probes: int
    error: float  # in 0..1
    spread: float  # the standard error of that mean, assuming independent probes


@dataclass(frozen=True)
class GroupAnalysis:
    """Analysis of one probe group."""

    probes: int
    cmc: np.ndarray  # (K,) percent at rank 1..K, averaged as the protocol averages its headline
    pairs: PairAnalysis | None  # None if there are no genuine or no impostor pairs
    confusions: tuple[Confusion, ...]  # the hardest, one for each subject
    by_length: tuple[ProbeErrors, ...]  # classes of about equal size, from short to long
    by_type: tuple[ProbeErrors, ...]  # one entry for each type of probe


@dataclass(frozen=True)
class EmbeddingMap:
    """A two-dimensional embedding of n sequences."""

    method: str  # t-SNE or PCA
    sequences: np.ndarray  # (n,) indices into the N sequences
    points: np.ndarray  # (n, 2)


@dataclass(frozen=True)
class Analysis:
    """Everything that a report shows."""

    result: EvaluationResult
    baseline: EvaluationResult | None  # the evaluation of gait energy images; None without them
    groups: dict[str, GroupAnalysis]  # group -> its analysis; the groups of `result`
    map: EmbeddingMap  # of a few subjects
    ids: np.ndarray  # (N,) subjects
    types: np.ndarray  # (N,) sequence types
    views: np.ndarray  # (N,) views
    lengths: np.ndarray  # (N,) numbers of frames

    def key(self, index: int) -> tuple[str, str, str]:
        """Return subject, type and view of a sequence."""
        return str(self.ids[index]), str(self.types[index]), str(self.views[index])


def analyse(saved: SavedFeatures, result: EvaluationResult, baseline: EvaluationResult | None = None) -> Analysis:
    """Analyse a test: return everything that a report shows of it.

    `result` is the evaluation of these features with its comparisons (`Options.keep`), `baseline` that of the gait
    energy images, if there are any.
    """
    sequences = Sequences.checked(saved.features, saved.ids, saved.types, saved.views)
    lengths = np.array(saved.lengths, dtype=np.int64)
    groups: dict[str, GroupAnalysis] = {}
    used = np.zeros(len(sequences.ids), bool)
    for name, comparisons in result.comparisons.items():
        used[comparisons.probes] = used[comparisons.gallery] = True
        errors = _errors(comparisons)
        has_error = ~np.isnan(errors)
        probes, errors = comparisons.probes[has_error], errors[has_error]
        groups[name] = GroupAnalysis(
            probes=len(comparisons.probes),
            cmc=np.array([comparisons.mean(f"rank-{k}") for k in range(1, RANKS + 1)]),
            pairs=_pair_analysis(comparisons, result.verification.get(name)),
            confusions=comparisons.confusions,
            by_length=_by_length(lengths[probes], errors),
            by_type=_by_type(sequences.types[probes], lengths[probes], errors),
        )
    coordinates = embedding_map(sequences, np.flatnonzero(used), result.metric)
    return Analysis(result, baseline, groups, coordinates, sequences.ids, sequences.types, sequences.views, lengths)


def _errors(comparisons: Comparisons) -> np.ndarray:
    """Return the share of wrong comparisons of each probe: (M,), NaN without comparisons."""
    is_counted = comparisons.compared & ~np.isnan(comparisons.ranks)
    count = is_counted.sum(1)
    return np.where(count > 0, (is_counted & (comparisons.ranks > 1)).sum(1) / np.maximum(count, 1), np.nan)


def _pair_analysis(comparisons: Comparisons, verification: Verification | None) -> PairAnalysis | None:
    assert comparisons.pairs is not None
    rates = verification or comparisons.pairs.verification()
    if not rates.genuine or not rates.impostor:
        return None
    equal_error = int(np.abs(rates.roc.far - (1 - rates.roc.tar)).argmin())
    edges, (genuine, impostor) = comparisons.pairs.histogram(_BINS)
    threshold = float(rates.roc.thresholds[equal_error])
    return PairAnalysis(rates, threshold, edges, genuine / rates.genuine, impostor / rates.impostor)


def tar_at(pairs: PairAnalysis, fars: np.ndarray) -> np.ndarray:
    """Return the TAR at given false accept rates: the largest TAR whose FAR is not larger."""
    curve = pairs.verification.roc
    return np.asarray(curve.tar[np.searchsorted(curve.far, fars, side="right") - 1])


def _by_length(frames: np.ndarray, errors: np.ndarray) -> tuple[ProbeErrors, ...]:
    """Return classes of about equal size, from short to long; probes of equal length are in one class."""
    if not len(frames):
        return ()
    inner = np.unique(np.quantile(frames, np.linspace(0, 1, _LENGTH_CLASSES + 1)[1:-1], method="higher"))
    classes = np.searchsorted(inner, frames, side="right")
    return tuple(_probe_errors("", frames[classes == c], errors[classes == c]) for c in np.unique(classes).tolist())


def _by_type(types: np.ndarray, frames: np.ndarray, errors: np.ndarray) -> tuple[ProbeErrors, ...]:
    return tuple(_probe_errors(t, frames[types == t], errors[types == t]) for t in np.unique(types).tolist())


def _probe_errors(name: str, frames: np.ndarray, errors: np.ndarray) -> ProbeErrors:
    spread = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0
    low, high, median = int(frames.min()), int(frames.max()), float(np.median(frames))
    return ProbeErrors(name, low, high, median, len(errors), float(errors.mean()), spread)


def embedding_map(sequences: Sequences, among: np.ndarray, metric: str) -> EmbeddingMap:
    """Embed some of the sequences `among`, of a few subjects, in two dimensions: by t-SNE, by PCA if there are few.

    t-SNE (van der Maaten and Hinton, *Visualizing Data using t-SNE*, JMLR 2008) uses the distances of the evaluation
    and is initialised with the first two principal components, so that it is deterministic.
    """
    rng = np.random.default_rng(SEED)
    subjects = np.unique(sequences.ids[among])
    if len(subjects) > _MAP_SUBJECTS:
        subjects = np.sort(rng.choice(subjects, _MAP_SUBJECTS, replace=False))
    chosen = []
    for subject in subjects.tolist():
        rows = among[sequences.ids[among] == subject]
        chosen.append(rows if len(rows) <= _MAP_POINTS else np.sort(rng.choice(rows, _MAP_POINTS, replace=False)))
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
        random_state=SEED,
        n_jobs=1,
    ).fit_transform(distance)
    return EmbeddingMap("t-SNE", rows, np.asarray(coordinates, np.float64))


def principal_components(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the first principal components of n vectors: (n, count), padded with zeros."""
    centred = vectors - vectors.mean(0)
    values, axes = np.linalg.eigh(centred @ centred.T)
    # The sign of an axis is arbitrary; make the largest entry positive, so that the result is deterministic.
    axes, values = axes[:, ::-1][:, :count], values[::-1][:count]
    signs = np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    components = axes * signs * np.sqrt(np.maximum(values, 0.0))
    return np.pad(components, ((0, 0), (0, count - components.shape[1])))
