"""A gallery of people: enrol, identify and forget them by name."""

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

DEFAULT_WEIGHTS = "syngait"
_MOST_WINDOWS = 32
"""Of a longer track so many windows are searched, evenly spread: an hour in view takes no longer than a minute."""
Decision = Literal["known", "unknown", "not calibrated", "too short"]
SearchKind = Literal["exact", "faiss"]


@dataclass(frozen=True)
class Answer:
    """Who a track shows.

    Attributes:
        decision: whether the nearest person is within the threshold. Without a calibration there is none; a track of
            fewer than `FEWEST` frames is not searched.
        frames: of the track.
        nearest: the nearest people, the first at rank 1; empty if the track is too short.
        name: the person, if known.
        scale: what the distance is divided by for the ratio: the distance to the second nearest person, or 1 in a
            gallery of one.
        threshold: the largest distance of this track that counts as known, the calibrated ratio times the scale; None
            without a calibration.
        wrong: how often somebody who is not enrolled has this ratio or a smaller one in a gallery of as many people;
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
        """The distance of the nearest person."""
        return self.nearest[0].distance if self.nearest else None

    @property
    def margin(self) -> float | None:
        """By how much the second person is farther than the nearest; None without a second."""
        return self.nearest[1].distance - self.nearest[0].distance if len(self.nearest) > 1 else None

    @property
    def ratio(self) -> float | None:
        """The distance of the nearest person over that of the second; None without a second."""
        return self.nearest[0].distance / self.scale if len(self.nearest) > 1 else None


class Gallery:
    """People by name, with the features of their walks; opened by `Gallery.open`.

    Attributes:
        folder: its files.
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
        self._weights, self._kind = weights, search
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
            path: its folder.
            weights: what embeds silhouettes: a name or path as `dygait.load_pretrained` or `load_exported` takes it, or
                what these return. None: the weights of the gallery, `syngait` for a new one.
            window: frames of a window. None: that of the gallery, 30 for a new one.
            step: frames from one window to the next. None: that of the gallery, 15 for a new one.
            search: `exact`, or `faiss` for more windows than can be compared.

        Raises:
            UserError: there is something else at the path, or the gallery has other windows.
        """
        folder = GalleryFolder(path)
        for name, given in (("window", window), ("step", step)):
            if given is not None and given < 1:
                raise UserError(f"--{name} {given}: give a positive number of frames")
        if not folder.exists():
            return cls(folder, weights, window or SIZE, step or STEP, search)
        settings = folder.settings()
        for name, given, has in (("window", window, settings.window), ("step", step, settings.step)):
            if given not in (None, has):
                raise UserError(f"--{name} {given}: the gallery {path} has {name} {has}; leave it out, or make another")
        return cls(folder, weights, settings.window, settings.step, search)

    @functools.cached_property
    def model(self) -> EmbeddingModel:
        """What embeds silhouettes.

        Raises:
            UserError: there are no such weights, or the gallery was made with others.
        """
        settings = self.folder.settings() if self.folder.exists() else None
        weights = self._weights or (settings.weights if settings else DEFAULT_WEIGHTS)
        model = _opened(weights) if isinstance(weights, (str, Path)) else weights
        if settings is not None and model.info.identity != settings.identity:
            raise UserError(
                f"the gallery {self.folder.root} was made with the weights {settings.weights} "
                f"({settings.identity[:12]}), these are {model.info.name} ({model.info.identity[:12]}): their features "
                "cannot be compared. Name the gallery's weights with --weights, or enrol everybody in a new gallery"
            )
        return model

    @property
    def metric(self) -> str:
        """The distance of features, `euc` or `cos`, with which the weights were tested."""
        return at(self.model.info.training, "config", "evaluator_cfg", "metric") or "euc"

    def enroll(self, name: str, sequences: Sequence[np.ndarray], keep_silhouettes: bool = False) -> int:
        """Add walks of a person, who may be enrolled already, and return the number of their windows.

        Args:
            name: any text that can be the name of a folder.
            sequences: normalised silhouettes as of `dygait.embed`, each uint8 (S, 64, 64).
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
        features = _finite(embed(self.model, windows))
        kept = np.stack([middle_frames(window) for window in windows]) if keep_silhouettes else None
        self.folder.add(name, features, self.create(), kept)
        return len(windows)

    def identify(self, sequences: Sequence[np.ndarray], fpir: float | None = None, count: int = 10) -> list[Answer]:
        """Search for the people that tracks show.

        Args:
            sequences: normalised silhouettes as of `dygait.embed`, each uint8 (S, 64, 64) of one track.
            fpir: the false-positive identification rate of the threshold. None: that of the calibration.
            count: how many of the nearest people an answer has.

        Returns:
            An answer for each track.

        Raises:
            UserError: nobody is enrolled, or the calibration cannot resolve the rate.
        """
        search = self._refreshed()
        windows, starts = windows_of_all(sequences, self.window, self.step, _MOST_WINDOWS)
        features = _finite(embed(self.model, windows)) if windows else np.empty((0, 0, 0), np.float32)
        answers = []
        for frames, (start, stop) in zip(sequences, pairwise(starts), strict=True):
            nearest = search.nearest(features[start:stop], max(count, 2)) if stop > start else []
            answers.append(self._answer(nearest, len(search.names), len(frames), fpir, count))
        return answers

    def silhouettes(self, name: str) -> np.ndarray | None:
        """Return some frames of a person, uint8 (F, H, W); None if the gallery keeps none."""
        settings = self.folder.settings()
        for file in self.folder.people()[name]:
            kept = self.folder.read(file, settings).silhouettes
            if kept is not None:
                return kept[len(kept) // 2]
        return None

    def forget(self, name: str) -> int:
        """Delete everything of a person, and return the number of enrolments; UserError if nobody has the name."""
        return self.folder.forget(name)

    @property
    def names(self) -> list[str]:
        """Who is enrolled, sorted."""
        return list(self.folder.people())

    @property
    def calibration(self) -> Calibration | None:
        """The calibration; None if there is none."""
        if not self.folder.exists():
            return None
        return Calibration.load(self.folder.root / CALIBRATION, self.folder.settings())

    def create(self) -> GallerySettings:
        """Create the gallery unless it exists, and return its settings; UserError if it has other ones."""
        if not self.folder.exists():
            info = self.model.info
            weights = _lasting(info.name)
            self.folder.create(GallerySettings(weights, info.identity, self.metric, self.window, self.step))
        settings = self.folder.settings()
        if (settings.identity, settings.window, settings.step) != (self.model.info.identity, self.window, self.step):
            raise UserError(
                f"{self.folder.root}: another process has just made this gallery with other weights or windows"
            )
        return settings

    def _refreshed(self) -> ExactSearch | ApproximateSearch:
        """Return the search, which is built again if somebody was enrolled or forgotten."""
        state = self.folder.state()
        if self._search is None or state != self._state:
            exact = self._read()
            self._search = ApproximateSearch(exact) if self._kind == "faiss" else exact
            self._calibration, self._state = self.calibration, state
        return self._search

    def _read(self) -> ExactSearch:
        settings, people = self.folder.settings(), self.folder.people()
        if not people:
            root = self.folder.root
            raise UserError(f"nobody is enrolled in {root}: `dygait enroll NAME SOURCE --gallery {root}`")
        try:
            counts = [sum(map(self.folder.count, files)) for files in people.values()]
            parts = ([self.folder.read(file, settings).features for file in files] for files in people.values())
            return ExactSearch(list(people), counts, map(np.concatenate, parts), settings.metric)
        except MissingFileError:  # another process forgets somebody
            return self._read()

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


def _opened(weights: str | Path) -> EmbeddingModel:
    """Load weights, or a file that `dygait export` wrote."""
    return load_exported(weights) if Path(weights).suffix in (ONNX, PROGRAM) else load_pretrained(weights)


def _lasting(name: str) -> str:
    """Return the name of weights as it is found from any folder, and after a run has gone on."""
    if name in published.names() or not Path(name).exists():
        return name
    return str(find_weights(name).resolve())


def _finite(features: np.ndarray) -> np.ndarray:
    if not np.isfinite(features).all():
        raise UserError("the weights give features that are not finite: the network has diverged, use other weights")
    return features
