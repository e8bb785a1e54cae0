"""The input of a report: the features of a test, and the records of its run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dygait import untrusted
from dygait.data.stores import Store, open_store
from dygait.errors import UserError
from dygait.evaluation import Options, evaluate_saved
from dygait.evaluation.analysis import Analysis, analyse
from dygait.evaluation.builtin_protocols import protocols_of
from dygait.evaluation.features import SavedFeatures, load_features
from dygait.evaluation.intervals import RESAMPLES
from dygait.frames.modalities import brightest_channel
from dygait.reporting import explanation
from dygait.runs.events import read_lines

FRAMES = 4
"""Number of frames shown of a sequence."""
_SPACING = 8
"""Distance of the shown frames in a sufficiently long sequence: about a third of a stride."""


@dataclass(frozen=True)
class ReportedRun:
    """One run of a report."""

    name: str  # in the report
    origin: Mapping[str, Any]  # `SavedFeatures.origin`
    analysis: Analysis  # of the features
    records: Mapping[str, Any] = field(default_factory=dict)  # train and test -> the record of that phase, if it exists
    scalars: tuple[Mapping[str, Any], ...] = ()  # logged in training, an entry for each logged iteration
    frames: Mapping[int, np.ndarray] = field(default_factory=dict)  # sequence of a confusion -> uint8 (S, H, W)
    frames_missing: str = ""  # the reason why there are no frames; empty if there are
    explained: explanation.Explanation | None = None  # the responses of the branches, if the run has them
    explained_strip: bytes = b""  # the picture of the explanation, PNG; empty without

    @property
    def config(self) -> str:
        """The resolved configuration as YAML; empty if it is not known."""
        config = self.origin.get("config")
        return yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else ""


def find_features(path: Path) -> Path:
    """Return a folder of features: the path itself, or the newest in a run's folder; UserError if it has none."""
    folder = path / "features"
    if not folder.is_dir():
        if (path / "checkpoints").is_dir():
            raise UserError(f"{path}: this run has no features; run `dygait test`")
        return path
    candidates = [p for p in folder.iterdir() if p.is_dir() and p.name.rpartition("-")[2].isdecimal()]
    if not candidates:
        raise UserError(f"{folder} has no features; run `dygait test`")
    return max(candidates, key=lambda p: int(p.name.rpartition("-")[2]))


def open_runs(
    path: Path, protocol: str | None = None, metric: str | None = None, with_frames: bool = True
) -> list[ReportedRun]:
    """Read and analyse a run, given its folder or a folder of features, under each of its protocols.

    A protocol or metric replaces that of the configuration.

    Raises:
        UserError: there are no features, or features, protocol and data do not match.
    """
    folder = find_features(path)
    saved = load_features(folder)
    options = Options(intervals=RESAMPLES, verification=True, open_set=True, keep=True)
    metric = metric or saved.origin.get("metric", "euc")
    runs = []
    for selected in protocols_of(protocol, saved.origin, folder):
        if selected.classes is not None:
            raise UserError(f"{folder}: a report compares sequences, and the protocol {selected.name} does not")
        analysis = analyse(saved, *evaluate_saved(saved, selected, metric, options))
        runs.append(describe(folder, saved, analysis, with_frames))
    return named_by_protocol(runs)


def named_by_protocol(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """Add the protocol to the names of a run that was analysed under several protocols."""
    return [replace(r, name=f"{r.name}, {r.analysis.result.protocol}") if len(runs) > 1 else r for r in runs]


def describe(
    folder: Path, saved: SavedFeatures, analysis: Analysis, with_frames: bool = True, store: Store | None = None
) -> ReportedRun:
    """Combine the features in a folder, their analysis and the records of the run.

    Frames of the confused sequences are read if `with_frames`, from `store` if it is open already.
    """
    checkpoint = saved.origin.get("checkpoint")
    root = _root(folder, saved.origin)
    logs = root / "logs"
    shown = sorted({n for g in analysis.groups.values() for c in g.confusions for n in (c.probe, *c.nearest)})
    frames, missing = _frames(shown, analysis, saved.origin, store) if with_frames else ({}, "they were not requested")
    explained, strip = _explanation(root / explanation.FOLDER, with_frames)
    return ReportedRun(
        name=folder.name if checkpoint is None else Path(checkpoint).stem,
        origin=saved.origin,
        analysis=analysis,
        records={phase: entry for phase in ("train", "test") if (entry := _record(logs / f"run_{phase}.json"))},
        scalars=tuple(read_lines(logs / "scalars.jsonl")),
        frames=frames,
        frames_missing=missing,
        explained=explained,
        explained_strip=strip,
    )


def _root(folder: Path, origin: Mapping[str, Any]) -> Path:
    """Return the folder of the run: the one that contains the features, else the one that contains the checkpoint."""
    root = folder.resolve().parent.parent
    if (root / "logs").is_dir():
        return root
    return Path(str(origin.get("checkpoint", folder))).parent.parent


def _record(path: Path) -> dict[str, Any]:
    """Read the record of a phase of a run; empty if it is missing or damaged."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def _explanation(folder: Path, with_strip: bool) -> tuple[explanation.Explanation | None, bytes]:
    """Return the explanation that `dygait explain` wrote to a folder, and its picture; UserError if it is damaged."""
    if not (folder / explanation.FILE).is_file():
        return None, b""
    picture = folder / explanation.STRIP
    strip = untrusted.read_bytes(picture) if with_strip and picture.is_file() else b""
    return explanation.load_explanation(folder / explanation.FILE), strip


def _frames(
    shown: list[int], analysis: Analysis, origin: Mapping[str, Any], store: Store | None
) -> tuple[dict[int, np.ndarray], str]:
    """Return frames by sequence, and the reason if there are none."""
    if not shown:
        return {}, ""
    if store is None:
        root = untrusted.at(origin, "config", "data_cfg", "dataset_root")
        roots = [root] if isinstance(root, str) else root
        if not isinstance(roots, list) or not roots or not all(isinstance(name, str) and name for name in roots):
            return {}, "the features do not name their data"
        try:
            store = open_store(root)
        except (UserError, OSError, ValueError) as error:  # the name of the folder can be anything
            return {}, f"the data cannot be read here: {error}"
    fingerprint = origin.get("fingerprint")
    if fingerprint is not None and store.fingerprint != fingerprint:
        return {}, f"the data in {store.root} is not the data of the features (another fingerprint)"
    indices = {key: index for index, key in enumerate(store.table.all_keys())}
    try:
        frames = {n: middle_frames(store.read(indices[analysis.key(n)])) for n in shown}
    except (UserError, KeyError) as error:
        return {}, f"the data cannot be read here: {error}"
    return frames, ""


def middle_frames(frames: np.ndarray) -> np.ndarray:
    """Return frames from the middle of a sequence, `_SPACING` apart if it is long enough."""
    spacing = min(_SPACING, max(1, (len(frames) - 1) // (FRAMES - 1)))
    first = max(0, (len(frames) - 1 - spacing * (FRAMES - 1)) // 2)
    return np.array(brightest_channel(frames[first : first + spacing * (FRAMES - 1) + 1 : spacing]))


def with_unique_names(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """Return the runs with unique names; duplicates get the number of the run."""
    counts = Counter(run.name for run in runs)
    return [replace(r, name=f"{r.name} ({n})" if counts[r.name] > 1 else r.name) for n, r in enumerate(runs, 1)]
