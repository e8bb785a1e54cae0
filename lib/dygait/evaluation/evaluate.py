"""From features and a protocol to percentages: distances come in blocks, measures per probe, means per group.

Letters: N sequences, C channels, P parts, M probes, G gallery sequences, V views.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dygait.errors import UserError
from dygait.evaluation.distances import DEFAULT_MAX_BYTES, METRICS, distance_blocks
from dygait.evaluation.protocols import PROTOCOLS, ProbeGroup, Protocol, Selector, sequence_keys
from dygait.evaluation.ranking import ByView, chance, mean_by_view, measure_all
from dygait.evaluation.sequences import Sequences

Percentages = dict[str, dict[str, Any]]
_CHANCE = "chance"
_MASK = 2**24
"""Entries of a mask of probes by gallery."""


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        protocol: its name.
        words: it in one sentence.
        metric: the distance, ``euc`` or ``cos``.
        measures: what is reported, the first being the headline.
        percentages: group -> measure -> percent; where the gallery is searched one view at a time, also
            ``"per view"`` -> probe view -> percent (of the first measure; ``"<measure> per view"`` of the others).
        chance: group -> the headline's expected rank-1, in percent, if a gallery sequence were picked at random.
        counts: group -> ``probes``, ``gallery``, ``probes without a match``; one view at a time also ``comparisons``
            (a probe against the gallery of one view) and ``comparisons without a match``.
        matrices: group -> the headline in percent for every probe view and gallery view, the identical view included;
            empty unless the gallery is searched one view at a time.
        notes: what a reader of the numbers must know, a sentence each.
    """

    protocol: str
    words: str
    metric: str
    measures: tuple[str, ...]
    percentages: Percentages
    chance: dict[str, float]
    counts: dict[str, dict[str, int]]
    matrices: dict[str, ByView] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def scalars(self) -> dict[str, float]:
        """Return the group means by a flat name, ``NM/rank-1``: what TensorBoard shows."""
        return {f"{g}/{m}": values[m] for g, values in self.percentages.items() for m in self.measures}

    def within_view(self, group: str) -> float:
        """Return the mean of a group's headline within the identical view, in percent; NaN where there is none."""
        return _mean(np.diag(self.matrices[group].values))


def evaluate(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
) -> Percentages:
    """Return the percentages of a protocol.

    Args:
        features: (N, C, P) of all sequences, probes and gallery.
        ids: N subjects.
        types: N sequence types: ``nm-01``; ``00``; ``camera0_videos0``.
        views: N views: ``090``.
        protocol: a name in `PROTOCOLS` (``CASIA-B``, ``CASIA-B/cross-view``, ``OUMVLP``, ``GREW``, ``Gait3D``) or a
            `Protocol`.
        metric: the distance: ``euc`` or ``cos``.
        probes: Gait3D's PROBE_SET, keys ``id-type-view``; protocols that choose probes by type take no notice of it.

    Returns:
        ``result[group][measure]`` in percent: ``result["NM"]["rank-1"]``, and ``result["NM"]["per view"]["090"]`` where
        the gallery is searched one view at a time.

    Raises:
        UserError: what does not fit together, features that are not finite, an empty gallery, or nothing left to
        report.
    """
    return evaluate_detailed(features, ids, types, views, protocol, metric, probes).percentages


def evaluate_detailed(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
    device: torch.device | str | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> EvaluationResult:
    """Return the percentages of a protocol with their counts, chance levels, view matrices and notes.

    Definitions, besides those of `ranking`: a probe without any true match in the gallery that it is compared with is
    left out of that mean and counted, or counted as wrong where the group says so (OUMVLP reports both). An empty group
    of probes is left out of the result and named in the notes, and so is a group with no probe that counts. One view at
    a time, a probe view's number is the mean over the gallery views, and the group's the mean over its probe views.

    Args:
        features: as `evaluate`.
        ids: as `evaluate`.
        types: as `evaluate`.
        views: as `evaluate`.
        protocol: as `evaluate`.
        metric: as `evaluate`.
        probes: as `evaluate`.
        device: where distances are computed; None stands for where the features are.
        max_bytes: bound of the working memory of a block of distances.

    Raises:
        UserError: as `evaluate`.
    """
    chosen = PROTOCOLS.get(protocol) if isinstance(protocol, str) else protocol
    if metric not in METRICS:
        raise UserError(f"metric: unknown distance {metric!r}; choose one of {', '.join(METRICS)}")
    sequences = Sequences.checked(features, ids, types, views)
    notes = _check_probe_list(sequences, chosen, probes)

    members = {group.name: sequences.select(group.probes, probes) for group in chosen.groups}
    galleries = {group.name: group.gallery or chosen.gallery for group in chosen.groups}
    scores: dict[Selector, _Scores] = {}
    for selector in dict.fromkeys(galleries.values()):
        # Groups that share a gallery may share probes as well: each probe is compared once.
        wanted = np.any([members[name] for name, gallery in galleries.items() if gallery == selector], axis=0)
        gallery = np.flatnonzero(sequences.select(selector, probes))
        if not len(gallery):
            raise UserError(
                f"protocol {chosen.name}: the gallery is empty; it wants {_wanted(selector)}, "
                f"the data has types {_some(sequences.types)}"
            )
        where = torch.device(device) if device is not None else sequences.features.device
        scores[selector] = _score(sequences, np.flatnonzero(wanted), gallery, chosen, metric, where, max_bytes)

    summaries: dict[str, _Summary] = {}
    for group in chosen.groups:
        summary = _summarise(scores[galleries[group.name]].of(members[group.name]), group, chosen)
        notes.extend(f"{group.name}: {note}" for note in summary.notes)
        if summary.percentages:
            summaries[group.name] = summary
    if not summaries:
        raise UserError(f"protocol {chosen.name}: {_why_nothing(sequences, chosen, members, probes)}")
    return EvaluationResult(
        protocol=chosen.name,
        words=chosen.words,
        metric=metric,
        measures=chosen.measures,
        percentages={name: summary.percentages for name, summary in summaries.items()},
        chance={name: summary.chance for name, summary in summaries.items()},
        counts={name: summary.counts for name, summary in summaries.items()},
        matrices={name: summary.matrix for name, summary in summaries.items() if summary.matrix is not None},
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Scores:
    """Scores of probes, in percent.

    `values` is name -> (M, columns), NaN where the probe has no true match in that column's gallery. A column is the
    gallery of one view, or the whole gallery.
    """

    probes: np.ndarray  # (M,) positions among the N sequences
    probe_views: np.ndarray  # (M,) names
    gallery_views: tuple[str, ...]  # names of the columns; none for the whole gallery
    gallery_size: int
    values: dict[str, np.ndarray]

    def of(self, member: np.ndarray) -> _Scores:
        """Return the scores of those probes that are members, (N,) bool."""
        rows = member[self.probes]
        values = {name: column[rows] for name, column in self.values.items()}
        return replace(self, probes=self.probes[rows], probe_views=self.probe_views[rows], values=values)


def _score(
    sequences: Sequences,
    probes: np.ndarray,
    gallery: np.ndarray,
    protocol: Protocol,
    metric: str,
    device: torch.device,
    max_bytes: int,
) -> _Scores:
    columns = [slice(0, len(gallery))]
    views: tuple[str, ...] = ()
    if protocol.one_view_at_a_time:
        # Sorted by view, in its own order within a view: the gallery of a view is a slice of all distances.
        gallery = gallery[np.argsort(sequences.views[gallery], kind="stable")]
        names, starts = np.unique(sequences.views[gallery], return_index=True)
        views = tuple(names.tolist())
        columns = [slice(a, b) for a, b in pairwise([*starts.tolist(), len(gallery)])]
    rows_of_probes, rows_of_gallery = torch.from_numpy(probes), torch.from_numpy(gallery)
    id_codes, view_codes = (_codes(names).to(device) for names in (sequences.ids, sequences.views))
    gallery_ids, gallery_views = id_codes[rows_of_gallery], view_codes[rows_of_gallery]
    values = {name: np.full((len(probes), len(columns)), np.nan) for name in (*protocol.measures, _CHANCE)}
    blocks = distance_blocks(
        sequences.features, sequences.features, metric, max_bytes, device, rows_of_probes, rows_of_gallery
    )
    for block, distances in blocks:
        # Few probes at a time: their masks, too, stay small beside the distances.
        step = max(1, _MASK // len(gallery))
        for start in range(block.start, block.stop, step):
            rows = slice(start, min(start + step, block.stop))
            chosen = rows_of_probes[rows]
            distance = distances[rows.start - block.start : rows.stop - block.start]
            match = id_codes[chosen, None] == gallery_ids
            excluded = None
            if protocol.exclusion != "nothing" and not protocol.one_view_at_a_time:
                excluded = view_codes[chosen, None] == gallery_views
                if protocol.exclusion == "same id in the same view":
                    excluded &= match
            for number, column in enumerate(columns):
                without = None if excluded is None else excluded[:, column]
                found = measure_all(protocol.measures, distance[:, column], match[:, column], without)
                found[_CHANCE] = chance(match[:, column], without)
                for name, score in found.items():
                    values[name][rows, number] = 100 * score.cpu().numpy()
    return _Scores(probes, sequences.views[probes], views, len(gallery), values)


@dataclass(frozen=True)
class _Summary:
    """What is reported of a group; without percentages where nothing is left."""

    notes: list[str]
    percentages: dict[str, Any] = field(default_factory=dict)
    chance: float = float("nan")
    counts: dict[str, int] = field(default_factory=dict)
    matrix: ByView | None = None


def _summarise(scores: _Scores, group: ProbeGroup, protocol: Protocol) -> _Summary:
    if not len(scores.probes):
        return _Summary([f"no probe sequences of {_wanted(group.probes)} in the data (group left out)"])
    unmatched = np.isnan(scores.values[_CHANCE])
    considered = np.ones_like(unmatched)
    if protocol.one_view_at_a_time and protocol.exclusion != "nothing":
        considered = scores.probe_views[:, None] != np.array(scores.gallery_views)
    if group.unmatched == "counted as wrong":
        scores = replace(scores, values={name: np.nan_to_num(v, nan=0.0) for name, v in scores.values.items()})

    headline = protocol.measures[0]
    percentages: dict[str, Any] = {}
    matrix = None
    if protocol.one_view_at_a_time:
        matrix = mean_by_view(scores.values[headline], scores.probe_views, scores.gallery_views)
        by_view = {name: _across_views(values, considered, scores) for name, values in scores.values.items()}
        means = {name: _mean(views.values()) for name, views in by_view.items()}
        for name in protocol.measures:
            percentages[name] = means[name]
            percentages["per view" if name == headline else f"{name} per view"] = by_view[name]
    else:
        means = {name: _mean(values) for name, values in scores.values.items()}
        percentages = {name: means[name] for name in protocol.measures}
    if np.isnan(means[headline]):
        return _Summary([f"no probe with a true match in the gallery, {protocol.exclusion} excluded (group left out)"])

    alone = (unmatched | ~considered).all(1)
    counts = {"probes": len(alone), "gallery": scores.gallery_size, "probes without a match": int(alone.sum())}
    notes = []
    if alone.any():
        notes.append(f"{alone.sum()} of {len(alone)} probes have no true match in the gallery ({group.unmatched})")
    if protocol.one_view_at_a_time:
        left_out = unmatched & considered
        counts |= {"comparisons": int(considered.sum()), "comparisons without a match": int(left_out.sum())}
        if left_out.any():
            notes.append(
                f"{left_out.sum()} of {considered.sum()} comparisons of a probe with the gallery of one view "
                f"have no true match ({group.unmatched})"
            )
    return _Summary(notes, percentages, means[_CHANCE], counts, matrix)


def _across_views(values: np.ndarray, considered: np.ndarray, scores: _Scores) -> dict[str, float]:
    """Return probe view -> mean over the gallery views; a view where nothing is left is left out."""
    cells = mean_by_view(np.where(considered, values, np.nan), scores.probe_views, scores.gallery_views)
    means = {view: _mean(row) for view, row in zip(cells.views, cells.values, strict=True)}
    return {view: mean for view, mean in means.items() if not np.isnan(mean)}


def _codes(names: np.ndarray) -> Tensor:
    return torch.from_numpy(np.unique(names, return_inverse=True)[1].reshape(-1))


def _mean(values: Iterable[float] | np.ndarray) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    array = np.array([*values] if not isinstance(values, np.ndarray) else values, dtype=np.float64)
    array = array[~np.isnan(array)]
    return float(array.mean()) if array.size else float("nan")


def _check_probe_list(sequences: Sequences, protocol: Protocol, probes: Collection[str] | None) -> list[str]:
    """Return the notes on a PROBE_SET that the protocol needs."""
    if not protocol.needs_probe_list:
        return []
    if not probes:
        raise UserError(
            f"protocol {protocol.name}: give PROBE_SET, the list of 'id-type-view' keys of the dataset's partition file"
        )
    wanted = set(probes)
    missing = len(wanted) - len(wanted & set(sequence_keys(sequences.ids, sequences.types, sequences.views).tolist()))
    if missing == len(wanted):
        raise UserError(
            f"protocol {protocol.name}: none of the {len(wanted)} keys of PROBE_SET ({_some(wanted)}) is in the data, "
            f"whose keys are like {sequences.ids[0]}-{sequences.types[0]}-{sequences.views[0]}"
        )
    return [f"{missing} of the {len(wanted)} keys of PROBE_SET are not in the data"] if missing else []


def _why_nothing(
    sequences: Sequences, protocol: Protocol, members: dict[str, np.ndarray], probes: Collection[str] | None
) -> str:
    if not any(m.any() for m in members.values()):
        wanted = "; ".join(_wanted(g.probes) for g in protocol.groups)
        return f"there are no probes; they want {wanted}, the data has types {_some(sequences.types)}"
    used = np.any([*members.values(), sequences.select(protocol.gallery, probes)], axis=0)
    only, *others = np.unique(sequences.views[used])
    if protocol.exclusion != "nothing" and not others:
        return f"the data has one view only ({only}), and with the {protocol.exclusion} excluded nothing is left"
    return "no probe has a true match in the gallery, so nothing is left to report; are the ids the test set's?"


def _wanted(selector: Selector) -> str:
    criteria = {"type": selector.types, "id": selector.ids, "view": selector.views}
    said = [f"{name} {', '.join(patterns)}" for name, patterns in criteria.items() if patterns != ("*",)]
    if selector.listed is not None:
        said.append(f"what is {'' if selector.listed else 'not '}in PROBE_SET")
    return " and ".join(said) or "every sequence"


def _some(names: Iterable[str], most: int = 8) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:most]) + (f", ... ({len(unique)} in all)" if len(unique) > most else "")
