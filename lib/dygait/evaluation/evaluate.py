"""Evaluate features under a protocol: distances in blocks, measures for each probe, means for each group.

Letters: N sequences, C channels, P parts, M probes, G gallery sequences, V views.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dygait.config.schema import Protocol, Selector
from dygait.errors import UserError
from dygait.evaluation.comparisons import CHANCE, Comparisons, Options, compare, mean
from dygait.evaluation.distances import DEFAULT_MAX_BYTES, METRICS
from dygait.evaluation.intervals import bootstrap, interval
from dygait.evaluation.openset import OpenSet, identify
from dygait.evaluation.protocols import as_protocol
from dygait.evaluation.ranking import ByView, mean_by_view
from dygait.evaluation.reranking import ReRank
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import Verification

Percentages = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation.

    Attributes:
        protocol: name of the protocol.
        description: the protocol in one sentence.
        metric: the distance, ``euc`` or ``cos``.
        measures: the reported measures; the first is the headline.
        percentages: group -> measure -> percent; if the gallery is searched one view at a time, also
            ``"per view"`` -> probe view -> percent (of the first measure; ``"<measure> per view"`` of the others).
        chance: group -> expected rank-1, in percent, of a gallery sequence picked at random.
        counts: group -> ``probes``, ``gallery``, ``probes without a match``; one view at a time also ``comparisons``
            (a probe against the gallery of one view) and ``comparisons without a match``.
        matrices: group -> the headline in percent for every probe view and gallery view, the identical view included;
            empty unless the gallery is searched one view at a time.
        notes: remarks on the numbers, one sentence each.
        intervals: group -> measure -> the 95 % interval of its percentage, (low, high), by the bootstrap over subjects;
            groups of one subject are skipped; empty unless requested.
        verification: group -> verification rates of its pairs; empty unless requested.
        open_set: group -> open-set identification rates of its searches; empty unless requested.
        comparisons: group -> the comparisons from which the above is computed, for `analyse`; empty unless requested.
    """

    protocol: str
    description: str
    metric: str
    measures: tuple[str, ...]
    percentages: Percentages
    chance: dict[str, float]
    counts: dict[str, dict[str, int]]
    matrices: dict[str, ByView] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    verification: dict[str, Verification] = field(default_factory=dict)
    open_set: dict[str, OpenSet] = field(default_factory=dict)
    comparisons: dict[str, Comparisons] = field(default_factory=dict, repr=False, compare=False)

    def scalars(self) -> dict[str, float]:
        """Return the group means by a flat name, ``NM/rank-1``: what TensorBoard shows."""
        return {f"{g}/{m}": values[m] for g, values in self.percentages.items() for m in self.measures}

    def within_view(self, group: str) -> float:
        """Return the mean of a group's headline within the identical view, in percent; NaN where there is none."""
        return mean(np.diag(self.matrices[group].values))


def evaluate(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol | Mapping[str, Any] = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
) -> Percentages:
    """Return the percentages of a protocol.

    Args:
        features: (N, C, P) of all sequences, probes and gallery.
        ids: N subjects.
        types: N sequence types: ``nm-01``; ``00``; ``camera0_videos0``.
        views: N views: ``090``.
        protocol: a name in `PROTOCOLS` (``CASIA-B``, ``CASIA-B/cross-view``, ``OUMVLP``, ``GREW``, ``Gait3D``, ...), a
            mapping as `evaluator_cfg.protocol` takes it, or a `Protocol`.
        metric: the distance: ``euc`` or ``cos``.
        probes: Gait3D's PROBE_SET, keys ``id-type-view``; ignored by protocols that choose probes by type.

    Returns:
        ``result[group][measure]`` in percent: ``result["NM"]["rank-1"]``, and ``result["NM"]["per view"]["090"]`` if
        the gallery is searched one view at a time.

    Raises:
        UserError: the arguments do not match each other, features are not finite, the gallery is empty, or no group has
            a probe that counts.
    """
    return evaluate_detailed(features, ids, types, views, protocol, metric, probes).percentages


def evaluate_detailed(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol | Mapping[str, Any] = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
    device: torch.device | str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    intervals: int = 0,
    verification: bool = False,
    open_set: bool = False,
    re_rank: ReRank | None = None,
    keep: bool = False,
) -> EvaluationResult:
    """Return the percentages of a protocol with their counts, chance levels, view matrices and notes.

    Definitions, besides those of `ranking`: a probe without a true match in the gallery that it is compared with is
    excluded from that mean and reported in `counts`, or counted as wrong if the group says so (OUMVLP reports both). A
    group without probes, or without a probe that counts, is skipped with a note. One view at a time, the value of a
    probe view is the mean over gallery views, and that of the group the mean over its probe views.

    Args:
        features: as `evaluate`.
        ids: as `evaluate`.
        types: as `evaluate`.
        views: as `evaluate`.
        protocol: as `evaluate`.
        metric: as `evaluate`.
        probes: as `evaluate`.
        device: where distances are computed; None for the device of the features.
        max_bytes: bound of the working memory of a block of distances.
        intervals: resamples of the bootstrap over subjects; 0 for no intervals.
        verification: compute verification rates of all pairs that the protocol compares, pooled over views. For their
            memory see `PairDistances`.
        open_set: compute open-set identification rates; each comparison of a probe with a gallery is a search.
        re_rank: the parameters of re-ranking, applied to the distances before anything else; None for none.
        keep: keep the comparisons, pairs and searches included, for `analyse`.

    Raises:
        UserError: as `evaluate`.
    """
    chosen = as_protocol(protocol)
    if metric not in METRICS:
        raise UserError(f"metric: unknown distance {metric!r}; choose one of {', '.join(METRICS)}")
    sequences = Sequences.checked(features, ids, types, views)
    notes = _check_probe_list(sequences, chosen, probes)
    selection = _Selection.of(sequences, chosen, probes)
    sequences = replace(sequences, views=_view_names(sequences.views, chosen))
    options = Options(
        metric=metric,
        device=torch.device(device) if device is not None else sequences.features.device,
        max_bytes=max_bytes,
        re_rank=re_rank,
        pairs=verification or keep,
        searches=open_set or keep,
        confusions=keep,
    )
    found = selection.compare(sequences, chosen, options)
    summaries: dict[str, _GroupSummary] = {}
    for name in chosen.groups:
        summary = _summarise(found[name], sequences.ids, name, chosen, intervals)
        notes.extend(f"{name}: {note}" for note in summary.notes)
        if summary.percentages:
            summaries[name] = summary
    if not summaries:
        raise UserError(f"protocol {chosen.name}: {_NO_MATCH}")
    return EvaluationResult(
        protocol=chosen.name,
        description=chosen.description if re_rank is None else f"{chosen.description}; {re_rank.description}",
        metric=metric,
        measures=tuple(chosen.measures),
        percentages={name: summary.percentages for name, summary in summaries.items()},
        chance={name: summary.chance for name, summary in summaries.items()},
        counts={name: summary.counts for name, summary in summaries.items()},
        matrices={name: summary.matrix for name, summary in summaries.items() if summary.matrix is not None},
        notes=tuple(notes),
        intervals={name: summary.intervals for name, summary in summaries.items() if summary.intervals},
        verification={n: pairs.verification() for n in summaries if verification and (pairs := found[n].pairs)},
        open_set={name: identify(*found[name].searches()) for name in summaries if open_set},
        comparisons={name: found[name] for name in summaries if keep},
    )


def check_against_data(
    protocol: Protocol,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    probes: Collection[str] | None = None,
) -> None:
    """Raise an error if no probe of these sequences counts under a protocol, before any feature is computed.

    Args:
        protocol: the protocol.
        ids: N subjects.
        types: N sequence types.
        views: N views.
        probes: the PROBE_SET.

    Raises:
        UserError: the gallery is empty, there are no probes, or none has a true match.
    """
    names = [np.array([str(name) for name in column], dtype=str) for column in (ids, types, views)]
    sequences = Sequences(torch.empty(len(names[0]), 0, 0), *names)
    _check_probe_list(sequences, protocol, probes)
    _Selection.of(sequences, protocol, probes)


@dataclass(frozen=True)
class _Selection:
    """Probes and gallery of each group."""

    members: dict[str, np.ndarray]  # group -> (N,) bool
    galleries: dict[str, np.ndarray]  # group -> indices of its gallery into the N sequences

    @classmethod
    def of(cls, sequences: Sequences, protocol: Protocol, probes: Collection[str] | None) -> _Selection:
        """Select the sequences; raises `UserError` if no probe counts."""
        groups = protocol.groups
        members = {name: sequences.select(group.probes, probes) for name, group in groups.items()}
        selectors = {name: group.gallery or protocol.gallery for name, group in groups.items()}
        galleries = {name: np.flatnonzero(sequences.select(s, probes)) for name, s in selectors.items()}
        some = [name for name, chosen in members.items() if chosen.any()]
        for name in some or members:
            if not len(galleries[name]):
                whose = f" of {name}" if any(group.gallery for group in groups.values()) else ""
                raise UserError(
                    f"protocol {protocol.name}: the gallery{whose} is empty; it needs {selectors[name].description}, "
                    f"{_available(sequences, selectors[name])}"
                )
        if not some:
            wanted = "; ".join(g.probes.description for g in groups.values())
            has = _available(sequences, *(g.probes for g in groups.values()))
            raise UserError(f"protocol {protocol.name}: there are no probes; they need {wanted}, {has}")
        views = _view_names(sequences.views, protocol)
        if not any(
            _can_match(sequences.ids, views, np.flatnonzero(members[name]), gallery, protocol).any()
            for name, gallery in galleries.items()
            if len(gallery)
        ):
            used = [*map(np.flatnonzero, members.values()), *galleries.values()]
            only, *others = np.unique(views[np.concatenate(used)])
            if protocol.exclusion != "nothing" and not others:
                raise UserError(
                    f"protocol {protocol.name}: the data has one view only ({only}), and with the "
                    f"{protocol.exclusion} excluded nothing remains"
                )
            raise UserError(f"protocol {protocol.name}: {_NO_MATCH}")
        return cls(members, galleries)

    def compare(self, sequences: Sequences, protocol: Protocol, options: Options) -> dict[str, Comparisons]:
        """Return the comparisons of each group; groups that share a gallery are compared in one pass."""
        found: dict[str, Comparisons] = {}
        for name, gallery in self.galleries.items():
            if name not in found:
                members = {n: self.members[n] for n, own in self.galleries.items() if np.array_equal(own, gallery)}
                found |= compare(sequences, members, gallery, protocol, options)
        return found


_NO_MATCH = "no probe has a true match in the gallery, so nothing can be reported; are the ids those of the test set?"


def _view_names(views: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the views as a protocol distinguishes them: (N,) names."""
    return np.array([protocol.view_name(view) for view in views.tolist()], dtype=str)


def _can_match(
    ids: np.ndarray, views: np.ndarray, probes: np.ndarray, gallery: np.ndarray, protocol: Protocol
) -> np.ndarray:
    """Return whether each probe has a true match that is not excluded: (M,) bool."""
    found = np.isin(ids[probes], ids[gallery])
    if protocol.exclusion == "nothing":
        return found
    # A subject with two gallery views has a match from any view; with one gallery view, from other views only.
    subjects, codes = np.unique(ids[gallery], return_inverse=True)
    view = np.unique(views, return_inverse=True)[1].reshape(-1)
    lowest, highest = np.full(len(subjects), len(views)), np.full(len(subjects), -1)
    np.minimum.at(lowest, codes.reshape(-1), view[gallery])
    np.maximum.at(highest, codes.reshape(-1), view[gallery])
    index = np.minimum(np.searchsorted(subjects, ids[probes]), len(subjects) - 1)
    elsewhere = (lowest[index] != view[probes]) | (highest[index] != view[probes])
    return found & elsewhere


@dataclass(frozen=True)
class _GroupSummary:
    """What is reported of a group; no percentages if no probe counts."""

    notes: list[str]
    percentages: dict[str, Any] = field(default_factory=dict)
    chance: float = float("nan")
    counts: dict[str, int] = field(default_factory=dict)
    matrix: ByView | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


def _summarise(found: Comparisons, ids: np.ndarray, name: str, protocol: Protocol, resamples: int) -> _GroupSummary:
    group = protocol.groups[name]
    if not len(found.probes):
        return _GroupSummary([f"no probe sequences of {group.probes.description} in the data (group skipped)"])
    headline = protocol.measures[0]
    percentages: dict[str, Any] = {}
    matrix = None
    for measure in protocol.measures:
        percentages[measure] = found.mean(measure)
        if protocol.one_view_at_a_time:
            by_view = found.by_view(found.scores(measure))
            percentages["per view" if measure == headline else f"{measure} per view"] = by_view
    if np.isnan(percentages[headline]):
        return _GroupSummary(
            [f"no probe with a true match in the gallery, {protocol.exclusion} excluded (group skipped)"]
        )

    unmatched = np.isnan(found.ranks)
    alone = (unmatched | ~found.compared).all(1)
    counts = {"probes": len(alone), "gallery": len(found.gallery), "probes without a match": int(alone.sum())}
    notes = []
    if alone.any():
        notes.append(f"{alone.sum()} of {len(alone)} probes have no true match in the gallery ({group.unmatched})")
    if protocol.one_view_at_a_time:
        matrix = mean_by_view(found.scores(headline), found.probe_views, found.gallery_views)
        uncounted = unmatched & found.compared
        counts |= {"comparisons": int(found.compared.sum()), "comparisons without a match": int(uncounted.sum())}
        if uncounted.any():
            notes.append(
                f"{uncounted.sum()} of {found.compared.sum()} comparisons of a probe with the gallery of one view "
                f"have no true match ({group.unmatched})"
            )
    intervals = _intervals(found, ids[found.probes], protocol, resamples) if resamples else {}
    return _GroupSummary(notes, percentages, found.mean(CHANCE), counts, matrix, intervals)


def _intervals(
    found: Comparisons, subjects: np.ndarray, protocol: Protocol, resamples: int
) -> dict[str, tuple[float, float]]:
    if len(np.unique(subjects)) < 2:
        return {}
    rows = found.probe_views if protocol.one_view_at_a_time else None
    limits = {}
    for name in protocol.measures:
        samples = bootstrap(np.where(found.compared, found.scores(name), np.nan), subjects, resamples, rows)
        if (ends := interval(samples)) is not None:
            limits[name] = ends
    return limits


def _check_probe_list(sequences: Sequences, protocol: Protocol, probes: Collection[str] | None) -> list[str]:
    """Return notes on the PROBE_SET; raises `UserError` if the protocol needs one that does not match the data."""
    if not protocol.needs_probe_list:
        return []
    if not probes:
        raise UserError(
            f"protocol {protocol.name}: PROBE_SET is missing: the 'id-type-view' keys of the dataset's partition file"
        )
    wanted = set(probes)
    missing = len(wanted - set(sequences.keys().tolist()))
    if missing == len(wanted):
        raise UserError(
            f"protocol {protocol.name}: none of the {len(wanted)} keys of PROBE_SET ({_abbreviated(wanted)}) is in the "
            f"data, whose keys are like {sequences.keys()[0]}"
        )
    return [f"{missing} of the {len(wanted)} keys of PROBE_SET are not in the data"] if missing else []


def _available(sequences: Sequences, *selectors: Selector) -> str:
    """Return a description of what the data has of the columns that selectors restrict."""
    by = [key for key in ("types", "ids", "views") if any(getattr(s, key) != ["*"] for s in selectors)] or ["types"]
    return "the data has " + ", ".join(f"{key} {_abbreviated(getattr(sequences, key))}" for key in by)


def _abbreviated(names: Iterable[str], most: int = 8) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:most]) + (f", ... ({len(unique)} in total)" if len(unique) > most else "")
