"""A gallery of people, who are enrolled, identified and forgotten by name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from dygait.deployment import EmbeddingModel, embed, load_exported, load_pretrained
from dygait.deployment.exported import ONNX, PROGRAM
from dygait.deployment.pretrained import find_weights
from dygait.errors import UserError
from dygait.identification.approximate import ApproximateSearch
from dygait.identification.calibration import Calibration, Rate
from dygait.identification.folder import CALIBRATION, GalleryFolder, GallerySettings, MissingFileError
from dygait.identification.search import Candidate, ExactSearch
from dygait.identification.windows import FEWEST, SIZE, STEP, windows_of_all
from dygait.reporting.reported_run import middle_frames
from dygait.runs import published
from dygait.untrusted import at

DEFAULT_WEIGHTS = "syngait/small"
_MOST_WINDOWS = 32
"""The most windows of a track that are searched, evenly spaced: an hour in view takes no longer than a minute."""
Decision = Literal["known", "unknown", "not calibrated", "too short"]
SearchKind = Literal["exact", "faiss"]


@dataclass(frozen=True)
class Answer:
    """The person that a track shows.

    Attributes:
        decision: whether the nearest person is within the threshold. There is no threshold without a calibration; a
            track of fewer than `FEWEST` frames is not searched.
        frames: number of frames of the track.
        nearest: the nearest people, nearest first; empty if the track is too short.
        name: the person, if known.
        scale: the denominator of the ratio: the distance to the second nearest person, or 1 in a gallery of one.
        threshold: the largest distance at which this track is known, the calibrated ratio times `scale`; None without
            a calibration.
        wrong: rate at which people who are not enrolled have this ratio or a smaller one in a gallery of this size;
            None without a calibration.
    """

    decision: Decision
    frames: int
    nearest: tuple[Candidate, ...] = ()
    name: str | None = None
    scale: float = 1.0
    threshold: float | None = None
    wrong: Rate | None = None

    @property
    def distance(self) -> float | None:
        """The distance to the nearest person."""
        return self.nearest[0].distance if self.nearest else None

    @property
    def margin(self) -> float | None:
        """The distance to the second nearest person minus that to the nearest; None without a second."""
        return self.nearest[1].distance - self.nearest[0].distance if len(self.nearest) > 1 else None

    @property
    def ratio(self) -> float | None:
        """The distance to the nearest person over that to the second nearest; None without a second."""
        return self.nearest[0].distance / self.scale if len(self.nearest) > 1 else None


class Gallery:
    """People by name, with the features of their walks; created by `Gallery.open`.

    Attributes:
        folder: the files of the gallery.
        window: frames of a window.
        step: frames from one window to the next.
    """

    def __init__(
        self,
        folder: GalleryFolder,
        weights: str | Path | EmbeddingModel | None,
        window: int,
        step: int,
        search: SearchKind,
    ) -> None:
        self.folder, self.window, self.step = folder, window, step
        self._weights, self._search_kind = weights, search
        self._state: int | None = None
        self._search: ExactSearch | ApproximateSearch | None = None
        self._calibration: Calibration | None = None

    @classmethod
    def open(
        cls,
        path: str | Path,
        weights: str | Path | EmbeddingModel | None = None,
        window: int | None = None,
        step: int | None = None,
        search: SearchKind = "exact",
    ) -> Gallery:
        """Open a gallery; one that does not exist is created when somebody is enrolled.

        Args:
            path: folder of the gallery.
            weights: the model that embeds silhouettes: a name or path for `dygait.load_pretrained` or `load_exported`,
                or a model that these return. None: the weights of the gallery, `syngait` for a new one.
            window: frames of a window. None: that of the gallery, 30 for a new one.
            step: frames from one window to the next. None: that of the gallery, 15 for a new one.
            search: `exact`, or `faiss` for galleries that are too large for it.

        Raises:
            UserError: there is something else at the path, or the gallery has another window or step.
        """
        folder = GalleryFolder(path)
        for name, value in (("window", window), ("step", step)):
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: give a positive number of frames")
        if not folder.exists():
            return cls(folder, weights, window or SIZE, step or STEP, search)
        settings = folder.settings()
        for name, value, stored in (("window", window, settings.window), ("step", step, settings.step)):
            if value not in (None, stored):
                raise UserError(
                    f"--{name} {value}: the gallery {path} has {name} {stored}; leave it out, or make another"
                )
        return cls(folder, weights, settings.window, settings.step, search)

    @functools.cached_property
    def model(self) -> EmbeddingModel:
        """The model that embeds silhouettes.

        Raises:
            UserError: there are no such weights, or the gallery has other weights.
        """
        settings = self.folder.settings() if self.folder.exists() else None
        weights = self._weights or (settings.weights if settings else DEFAULT_WEIGHTS)
        model = _load_model(weights) if isinstance(weights, (str, Path)) else weights
        if settings is not None and model.info.identity != settings.identity:
            raise UserError(
                f"the gallery {self.folder.root} was made with the weights {settings.weights} "
                f"({settings.identity[:12]}), these are {model.info.name} ({model.info.identity[:12]}): their features "
                "cannot be compared. Name the gallery's weights with --weights, or enrol everybody in a new gallery"
            )
        return model

    @property
    def metric(self) -> str:
        """The distance of features, `euc` or `cos`, with which the weights were evaluated."""
        return at(self.model.info.training, "config", "evaluator_cfg", "metric") or "euc"

    def enroll(self, name: str, sequences: Sequence[np.ndarray], keep_silhouettes: bool = False) -> int:
        """Add walks of a person, who may be enrolled already, and return their number of windows.

        Args:
            name: any text that can be the name of a folder.
            sequences: normalised silhouettes as for `dygait.embed`, each uint8 (S, 64, 64).
            keep_silhouettes: store a few frames of each window too, for `dygait identify --page`.

        Raises:
            UserError: the name cannot be used, all sequences are too short, or the gallery cannot be written.
        """
        self.folder.person(name)
        windows, _ = windows_of_all(sequences, self.window, self.step)
        if not windows:
            raise UserError(
                f"{name}: none of {len(sequences)} sequences has {FEWEST} frames or more: enrol longer walks"
            )
        features = _check_finite(embed(self.model, windows))
        silhouettes = np.stack([middle_frames(window) for window in windows]) if keep_silhouettes else None
        self.folder.add(name, features, self.create(), silhouettes)
        return len(windows)

    def identify(self, sequences: Sequence[np.ndarray], fpir: float | None = None, count: int = 10) -> list[Answer]:
        """Search for the people that tracks show.

        Args:
            sequences: normalised silhouettes as for `dygait.embed`, uint8 (S, 64, 64) for each track.
            fpir: the false-positive identification rate of the threshold. None: that of the calibration.
            count: number of nearest people in each answer.

        Returns:
            An answer for each track.

        Raises:
            UserError: nobody is enrolled, or the calibration has too few searches for the rate.
        """
        search = self._current_search()
        windows, starts = windows_of_all(sequences, self.window, self.step, _MOST_WINDOWS)
        features = _check_finite(embed(self.model, windows)) if windows else np.empty((0, 0, 0), np.float32)
        answers = []
        for frames, (start, stop) in zip(sequences, pairwise(starts), strict=True):
            nearest = search.nearest(features[start:stop], max(count, 2)) if stop > start else []
            answers.append(self._answer(nearest, len(search.names), len(frames), fpir, count))
        return answers

    def silhouettes(self, name: str) -> np.ndarray | None:
        """Return some frames of a person, uint8 (F, H, W); None if the gallery stores none."""
        settings = self.folder.settings()
        for file in self.folder.people()[name]:
            stored = self.folder.read(file, settings).silhouettes
            if stored is not None:
                return stored[len(stored) // 2]
        return None

    def forget(self, name: str) -> int:
        """Delete all enrolments of a person, and return their number; UserError if nobody has the name."""
        return self.folder.forget(name)

    @property
    def names(self) -> list[str]:
        """The names of the enrolled people, sorted."""
        return list(self.folder.people())

    @property
    def calibration(self) -> Calibration | None:
        """The calibration; None if there is none."""
        if not self.folder.exists():
            return None
        return Calibration.load(self.folder.root / CALIBRATION, self.folder.settings())

    def create(self) -> GallerySettings:
        """Create the gallery unless it exists, and return its settings; UserError if it has other settings."""
        if not self.folder.exists():
            info = self.model.info
            weights = _absolute_name(info.name)
            self.folder.create(GallerySettings(weights, info.identity, self.metric, self.window, self.step))
        settings = self.folder.settings()
        if (settings.identity, settings.window, settings.step) != (self.model.info.identity, self.window, self.step):
            raise UserError(
                f"{self.folder.root}: another process has just made this gallery with other weights or windows"
            )
        return settings

    def _current_search(self) -> ExactSearch | ApproximateSearch:
        """Return the search, rebuilt if somebody was enrolled or forgotten."""
        state = self.folder.state()
        if self._search is None or state != self._state:
            exact = self._read_features()
            self._search = ApproximateSearch(exact) if self._search_kind == "faiss" else exact
            self._calibration, self._state = self.calibration, state
        return self._search

    def _read_features(self) -> ExactSearch:
        settings, people = self.folder.settings(), self.folder.people()
        if not people:
            root = self.folder.root
            raise UserError(f"nobody is enrolled in {root}: `dygait enroll NAME SOURCE --gallery {root}`")
        try:
            counts = [sum(map(self.folder.count, files)) for files in people.values()]
            parts = ([self.folder.read(file, settings).features for file in files] for files in people.values())
            return ExactSearch(list(people), counts, map(np.concatenate, parts), settings.metric)
        except MissingFileError:  # another process has just forgotten somebody
            return self._read_features()

    def _answer(self, nearest: list[Candidate], people: int, frames: int, fpir: float | None, count: int) -> Answer:
        if not nearest:
            return Answer("too short", frames)
        shown, (name, distance) = tuple(nearest[:count]), nearest[0]
        scale = (nearest[1].distance or 1.0) if people > 1 else 1.0
        if self._calibration is None:
            return Answer("not calibrated", frames, shown, scale=scale)
        threshold = scale * self._calibration.threshold(people, fpir)
        wrong = self._calibration.false_positive_rate(distance / scale, people)
        if distance <= threshold:
            return Answer("known", frames, shown, name, scale, threshold, wrong)
        return Answer("unknown", frames, shown, None, scale, threshold, wrong)


def _load_model(weights: str | Path) -> EmbeddingModel:
    """Load weights, or a model that `dygait export` wrote."""
    return load_exported(weights) if Path(weights).suffix in (ONNX, PROGRAM) else load_pretrained(weights)


def _absolute_name(name: str) -> str:
    """Return a name of weights that does not depend on the working directory, nor on later checkpoints of a run."""
    path = Path(name)
    if name in published.names() or not (path.exists() or path.parent.is_file()):  # a member's parent is a file
        return name
    return str(find_weights(name).resolve())


def _check_finite(features: np.ndarray) -> np.ndarray:
    if not np.isfinite(features).all():
        raise UserError("the weights give features that are not finite: the network has diverged, use other weights")
    return features
