"""Evaluate features under a protocol: distances in blocks, measures for each probe, means for each group.

Letters: N sequences, C channels, P parts, M probes, G gallery sequences, V views.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dygait.config.schema import Protocol, Selector
from dygait.errors import UserError
from dygait.evaluation.builtin_protocols import as_protocol
from dygait.evaluation.classification import scores
from dygait.evaluation.comparisons import CHANCE, Comparisons, Options, compare
from dygait.evaluation.features import SavedFeatures
from dygait.evaluation.intervals import bootstrap, interval
from dygait.evaluation.openset import OpenSet, identify
from dygait.evaluation.ranking import ByView, mean_by_view
from dygait.evaluation.sequences import Sequences
from dygait.evaluation.verification import Verification

Percentages = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class EvaluationResult:
    """The result of an evaluation; mappings have a key for each probe group that is reported."""

    protocol: str
    description: str  # the protocol in one sentence
    metric: str  # the distance, euc or cos; of a classification `logits`
    measures: tuple[str, ...]  # the first is the headline
    feature: str | None = None  # which output of the network is compared; None if it is not known
    percentages: Percentages = field(default_factory=dict)  # measure -> percent, `view_key` -> probe view -> percent
    chance: dict[str, float] = field(default_factory=dict)  # expected rank-1 of a random gallery sequence, in percent
    # probes, gallery, probes without a match; one view at a time also comparisons (a probe against the gallery of one
    # view) and comparisons without a match.
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    # The headline in percent for every probe view and gallery view, the identical view included; empty unless the
    # gallery is searched one view at a time.
    matrices: dict[str, ByView] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # remarks on the numbers, one sentence each
    # Measure -> the 95 % interval of its percentage, by the bootstrap over subjects; not for groups of one subject.
    intervals: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    verification: dict[str, Verification] = field(default_factory=dict)
    open_set: dict[str, OpenSet] = field(default_factory=dict)
    comparisons: dict[str, Comparisons] = field(default_factory=dict, repr=False, compare=False)

    @property
    def headlines(self) -> dict[str, float]:
        """Group -> the first measure, in percent."""
        return {group: float(values[self.measures[0]]) for group, values in self.percentages.items()}

    def view_key(self, measure: str) -> str:
        """Return the key of a measure by view: ``per view`` of the headline, ``<measure> per view`` of the others."""
        return "per view" if measure == self.measures[0] else f"{measure} per view"


def evaluate(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol | Mapping[str, Any] = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
    gallery: Collection[str] | None = None,
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
        probes: Gait3D's or FreeGait's PROBE_SET, keys ``id-type-view``; ignored by protocols that do not name it.
        gallery: CCGR-Mini's GALLERY_SET, likewise.

    Returns:
        ``result[group][measure]`` in percent: ``result["NM"]["rank-1"]``, and ``result["NM"]["per view"]["090"]`` if
        the gallery is searched one view at a time.

    Raises:
        UserError: the arguments do not match each other, features are not finite, the gallery is empty, or no group has
            a probe that counts.
    """
    return evaluate_detailed(features, ids, types, views, protocol, metric, probes, None, gallery).percentages


def evaluate_detailed(
    features: Tensor | np.ndarray,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    protocol: str | Protocol | Mapping[str, Any] = "CASIA-B",
    metric: str = "euc",
    probes: Collection[str] | None = None,
    options: Options | None = None,
    gallery: Collection[str] | None = None,
) -> EvaluationResult:
    """Return the percentages of a protocol with their counts, chance levels, view matrices and notes.

    Arguments and errors are those of `evaluate`. Definitions, besides those of `ranking`: a probe without a true match
    in the gallery that it is compared with is excluded from that mean and reported in `counts`, or counted as wrong if
    the group says so (OUMVLP reports both). A group without probes, or without a probe that counts, is skipped with a
    note. One view at a time, the value of a probe view is the mean over gallery views, and that of the group the mean
    over its probe views. A probe that is in the gallery too is not compared with itself.
    """
    chosen, options = as_protocol(protocol), options or Options()
    sequences = Sequences.checked(features, ids, types, views)
    lists, notes = _checked_lists(sequences, chosen, probes, gallery)
    if chosen.classes is not None:
        return _classify(sequences, chosen, lists, notes, options)
    members, galleries = _select(sequences, chosen, lists)
    sequences = replace(sequences, views=_view_names(sequences.views, chosen))
    comparisons: dict[str, Comparisons] = {}
    for name, gallery_indices in galleries.items():
        if name not in comparisons:  # groups that share a gallery are compared in one pass
            sharing = {n: members[n] for n, other in galleries.items() if np.array_equal(other, gallery_indices)}
            comparisons |= compare(sequences, sharing, gallery_indices, chosen, metric, options)
    suffix = "" if options.re_rank is None else f"; {options.re_rank.description}"
    result = EvaluationResult(chosen.name, f"{chosen.description}{suffix}", metric, tuple(chosen.measures))
    for name in chosen.groups:
        added = _add_group(result, name, comparisons[name], sequences.ids, chosen, options)
        notes += [f"{name}: {note}" for note in added]
    return replace(result, notes=tuple(notes))


def evaluate_saved(
    saved: SavedFeatures, protocol: Protocol, metric: str, options: Options
) -> tuple[EvaluationResult, EvaluationResult | None]:
    """Return the result of saved features, and of their gait energy images as a baseline; None without images.

    Arguments and errors are those of `evaluate_detailed`; the lists of the partition are those of the features.
    """
    columns = saved.ids, saved.types, saved.views
    result = evaluate_detailed(saved.features, *columns, protocol, metric, options=options, **saved.lists)
    result = replace(result, feature=saved.origin.get("feature"))
    if saved.gei is None:
        return result, None
    images, options = saved.gei.reshape(len(saved.gei), -1, 1), replace(options, keep=False)
    return result, evaluate_detailed(images, *columns, protocol, "euc", options=options, **saved.lists)


def check_against_data(
    protocol: Protocol,
    ids: Sequence[str],
    types: Sequence[str],
    views: Sequence[str],
    probes: Collection[str] | None = None,
    gallery: Collection[str] | None = None,
) -> None:
    """Raise a UserError if no probe of these N sequences counts under a protocol, before any feature is computed.

    That is: the gallery is empty, there are no probes, none has a true match, or a list does not match.
    """
    sequences = Sequences.checked(torch.empty(len(ids), 0, 0), ids, types, views)
    lists, _ = _checked_lists(sequences, protocol, probes, gallery)
    if protocol.classes is not None:
        _true_classes(sequences, protocol)
    else:
        _select(sequences, protocol, lists)


def _classify(
    sequences: Sequences, protocol: Protocol, lists: Mapping[str, Collection[str]], notes: list[str], options: Options
) -> EvaluationResult:
    """Return the result of a classification: of the logits (N, K, P), the largest mean over parts is predicted."""
    count = len(protocol.classes or ())
    if sequences.features.shape[1] != count:
        raise UserError(
            f"features: {sequences.features.shape[1]} channels, but the protocol {protocol.name} has {count} classes; "
            f"it takes logits: ScoNet's, or another model's with evaluator_cfg.feature: logits"
        )
    true, predicted = _true_classes(sequences, protocol), sequences.features.double().mean(2).argmax(1).cpu().numpy()
    result = EvaluationResult(protocol.name, protocol.description, "logits", tuple(protocol.measures))
    for name, group in protocol.groups.items():
        selected = sequences.select(group.probes, lists)
        if not selected.any():
            notes.append(f"{name}: no sequences of {group.probes.description} in the data (group skipped)")
            continue
        values = scores(true[selected], predicted[selected])
        result.percentages[name] = {measure: values[measure] for measure in protocol.measures}
        result.chance[name] = 100 / count
        result.counts[name] = {"probes": int(selected.sum()), "gallery": 0, "probes without a match": 0}
        subjects = sequences.ids[selected]
        if options.intervals and "accuracy" in protocol.measures and len(np.unique(subjects)) > 1:
            correct = 100.0 * (true == predicted)[selected, None]
            if (limits := interval(bootstrap(correct, subjects, options.intervals))) is not None:
                result.intervals[name] = {"accuracy": limits}
    if not result.percentages:
        raise UserError(f"protocol {protocol.name}: no group has a sequence; {notes[0]}")
    return replace(result, notes=tuple(notes))


def _true_classes(sequences: Sequences, protocol: Protocol) -> np.ndarray:
    """Return the class of each sequence, (N,) int64; UserError where a type has none."""
    names, codes = np.unique(sequences.types, return_inverse=True)
    return np.array([protocol.class_of(name) for name in names.tolist()])[codes.reshape(-1)]


_NO_MATCH = "no probe has a true match in the gallery, so nothing can be reported; are the ids those of the test set?"


def _select(
    sequences: Sequences, protocol: Protocol, lists: Mapping[str, Collection[str]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the probes, (N,) bool, and the gallery, (G,) indices, of each group; UserError if no probe counts."""
    groups = protocol.groups
    members = {name: sequences.select(group.probes, lists) for name, group in groups.items()}
    selectors = {name: group.gallery or protocol.gallery for name, group in groups.items()}
    galleries = {name: np.flatnonzero(sequences.select(s, lists)) for name, s in selectors.items()}
    with_probes = [name for name, selected in members.items() if selected.any()]
    for name in with_probes or members:
        if not len(galleries[name]):
            owner = f" of {name}" if any(group.gallery for group in groups.values()) else ""
            raise UserError(
                f"protocol {protocol.name}: the gallery{owner} is empty; it needs {selectors[name].description}, "
                f"{_available(sequences, selectors[name])}"
            )
    if not with_probes:
        required = "; ".join(g.probes.description for g in groups.values())
        available = _available(sequences, *(g.probes for g in groups.values()))
        raise UserError(f"protocol {protocol.name}: there are no probes; they need {required}, {available}")
    views, compares_views = _view_names(sequences.views, protocol), protocol.exclusion != "nothing"
    if not any(_can_match(sequences.ids, views, members[name], galleries[name], compares_views) for name in groups):
        used = [*map(np.flatnonzero, members.values()), *galleries.values()]
        view, *other_views = np.unique(views[np.concatenate(used)])
        if compares_views and not other_views:
            raise UserError(
                f"protocol {protocol.name}: the data has one view only ({view}), and with the "
                f"{protocol.exclusion} excluded nothing remains"
            )
        raise UserError(f"protocol {protocol.name}: {_NO_MATCH}")
    return members, galleries


def _view_names(views: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Return the views as a protocol distinguishes them: (N,) names."""
    return np.array([protocol.view_name(view) for view in views.tolist()], dtype=str)


def _can_match(ids: np.ndarray, views: np.ndarray, probes: np.ndarray, gallery: np.ndarray, other_view: bool) -> bool:
    """Return whether a probe has a true match besides itself, in another view if that is required."""
    views_of: dict[str, Counter[str]] = defaultdict(Counter)
    for subject, view in zip(ids[gallery].tolist(), views[gallery].tolist(), strict=True):
        views_of[subject][view] += 1
    indices = np.flatnonzero(probes)
    in_gallery = np.isin(indices, gallery).tolist()
    for subject, view, is_in_gallery in zip(ids[indices].tolist(), views[indices].tolist(), in_gallery, strict=True):
        counts = views_of.get(subject, Counter())
        if counts.total() > (counts[view] if other_view else is_in_gallery):
            return True
    return False


def _add_group(
    result: EvaluationResult, name: str, comparisons: Comparisons, ids: np.ndarray, protocol: Protocol, options: Options
) -> list[str]:
    """Add a group to a result, unless no probe counts, and return notes on it."""
    group = protocol.groups[name]
    if not len(comparisons.probes):
        return [f"no probe sequences of {group.probes.description} in the data (group skipped)"]
    headline = protocol.measures[0]
    percentages: dict[str, Any] = {}
    for measure in protocol.measures:
        percentages[measure] = comparisons.mean(measure)
        if protocol.one_view_at_a_time:
            percentages[result.view_key(measure)] = comparisons.by_view(comparisons.scores(measure))
    if np.isnan(percentages[headline]):
        return [f"no probe with a true match in the gallery, {protocol.exclusion} excluded (group skipped)"]
    result.percentages[name], result.chance[name] = percentages, comparisons.mean(CHANCE)

    notes = []
    unmatched = np.isnan(comparisons.ranks)
    missed = (unmatched | ~comparisons.compared).all(1)
    counts = {"probes": len(missed), "gallery": len(comparisons.gallery), "probes without a match": int(missed.sum())}
    shared = int(np.isin(comparisons.probes, comparisons.gallery).sum())
    if shared:
        notes.append(f"{shared} of {len(missed)} probes are in the gallery too; none is compared with itself")
    if missed.any():
        notes.append(f"{missed.sum()} of {len(missed)} probes have no true match in the gallery ({group.unmatched})")
    if protocol.one_view_at_a_time:
        result.matrices[name] = mean_by_view(
            comparisons.scores(headline), comparisons.probe_views, comparisons.gallery_views
        )
        uncounted = unmatched & comparisons.compared
        counts |= {"comparisons": int(comparisons.compared.sum()), "comparisons without a match": int(uncounted.sum())}
        if uncounted.any():
            notes.append(
                f"{uncounted.sum()} of {comparisons.compared.sum()} comparisons of a probe with the gallery of one "
                f"view have no true match ({group.unmatched})"
            )
    result.counts[name] = counts
    if options.intervals and (limits := _intervals(comparisons, ids[comparisons.probes], protocol, options.intervals)):
        result.intervals[name] = limits
    if options.verification and comparisons.pairs is not None:
        result.verification[name] = comparisons.pairs.verification()
    if options.open_set:
        result.open_set[name] = identify(*comparisons.searches())
    if options.keep:
        result.comparisons[name] = comparisons
    return notes


def _intervals(
    comparisons: Comparisons, subjects: np.ndarray, protocol: Protocol, resamples: int
) -> dict[str, tuple[float, float]]:
    if len(np.unique(subjects)) < 2:
        return {}
    rows = comparisons.probe_views if protocol.one_view_at_a_time else None
    limits = {}
    for name in protocol.measures:
        samples = bootstrap(np.where(comparisons.compared, comparisons.scores(name), np.nan), subjects, resamples, rows)
        if (ends := interval(samples)) is not None:
            limits[name] = ends
    return limits


def _checked_lists(
    sequences: Sequences, protocol: Protocol, probes: Collection[str] | None, gallery: Collection[str] | None
) -> tuple[dict[str, Collection[str]], list[str]]:
    """Return the lists that a protocol needs, and notes; UserError if one is missing or does not fit the data."""
    lists: dict[str, Collection[str]] = {}
    notes: list[str] = []
    for name in protocol.lists:
        keys = {"PROBE_SET": probes, "GALLERY_SET": gallery}[name]
        if not keys:
            raise UserError(
                f"protocol {protocol.name}: {name} is missing: the 'id-type-view' keys of the dataset's partition file"
            )
        expected = lists[name] = set(keys)
        missing = len(expected - set(sequences.keys().tolist()))
        if missing == len(expected):
            raise UserError(
                f"protocol {protocol.name}: none of the {len(expected)} keys of {name} ({_abbreviated(expected)}) is "
                f"in the data, whose keys are like {sequences.keys()[0]}"
            )
        notes += [f"{missing} of the {len(expected)} keys of {name} are not in the data"] if missing else []
    return lists, notes


def _available(sequences: Sequences, *selectors: Selector) -> str:
    """Describe the values that the data has in the columns that selectors restrict."""
    keys = [k for k in ("types", "ids", "views") if any(getattr(s, k) != ["*"] for s in selectors)] or ["types"]
    return "the data has " + ", ".join(f"{key} {_abbreviated(getattr(sequences, key))}" for key in keys)


def _abbreviated(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:8]) + (f", ... ({len(unique)} in total)" if len(unique) > 8 else "")
