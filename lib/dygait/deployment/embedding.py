"""Embedding of silhouette sequences by models that hold the transform of their input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from dygait.data.collate import collate
from dygait.data.dataset import Sample
from dygait.data.frame_sampler import window_starts
from dygait.data.samplers import InferenceSampler
from dygait.data.stores import Store
from dygait.data.stores.base import frames_problem
from dygait.data.transforms import Transform
from dygait.deployment.pretrained import WeightsInfo
from dygait.errors import UserError
from dygait.modeling.layers import mean_of_windows

_AT_A_TIME = 256  # sequences that are read before they are embedded
_FRAMES = 512  # frames of a batch, including padding; larger batches do not fit into a CPU's cache


class EmbeddingModel(Protocol):
    """The interface of models for `embed`, which `load_pretrained` and `load_exported` return."""

    info: WeightsInfo
    transform: Transform

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return features (N, C, P) for frames as in `dygait.build_model` and lengths (N,); None: all have S frames."""


@torch.inference_mode()
def embed(model: EmbeddingModel, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Embed sequences of normalised silhouettes.

    Args:
        model: a model of `dygait.load_pretrained` or `dygait.load_exported`.
        sequences: N arrays, at least one, each uint8 (S, 64, 64) with frames of `dygait.normalise_silhouette`. S is at
            least 1 and can differ between sequences. The model's transform is applied to them. Weights for frames of
            several channels take (S, channels, 64, 64).

    Returns:
        float32 (N, C, P): C channels, P parts. The features of a sequence do not depend on the other sequences (to 1e-5
        of the largest value).

    Raises:
        UserError: a sequence has another shape or type, or the model has no transform.
    """
    if not hasattr(model, "info") or not hasattr(model, "features"):
        raise UserError(f"embed takes a model of dygait.load_pretrained or load_exported, not {type(model).__name__}")
    if not len(sequences):
        raise UserError("embed takes at least one sequence")
    prepared, owners = [], []
    for index, frames in enumerate(sequences):
        windows = _windows(model.info, prepare(model, frames, f"sequences[{index}]"))
        prepared += windows
        owners += [index] * len(windows)
    features: dict[int, np.ndarray] = {}
    for indices in InferenceSampler([len(frames) for frames in prepared], _FRAMES).batches:
        batch = collate([Sample(prepared[i], -1, i, divisors=(model.transform.divisor,)) for i in indices])
        silhouettes = batch.scaled()
        assert isinstance(silhouettes, torch.Tensor)
        output = model.features(silhouettes, batch.lengths)
        features.update(zip(indices, output.float().cpu().numpy(), strict=True))
    by_window = np.stack([features[index] for index in range(len(prepared))])
    return mean_of_windows(torch.from_numpy(by_window), torch.tensor(owners), len(sequences)).numpy()


def embed_stored(model: EmbeddingModel, store: Store, indices: Sequence[int]) -> np.ndarray:
    """Embed sequences of a store, reading some at a time: float32 (N, C, P), as `embed`."""
    groups = [indices[start : start + _AT_A_TIME] for start in range(0, len(indices), _AT_A_TIME)]
    return np.concatenate([embed(model, [np.asarray(store.read(index)) for index in group]) for group in groups])


def _windows(info: WeightsInfo, frames: np.ndarray) -> list[np.ndarray]:
    """Return the windows of every `frames_step`-th frame of a sequence, or one window of all if they have no size."""
    frames, size = frames[:: info.frames_step], info.frames_window
    if size is None:
        return [frames]
    return [frames[start : start + size] for start in window_starts(len(frames), size)]


def prepare(model: EmbeddingModel, frames: np.ndarray, name: str) -> np.ndarray:
    """Transform frames to the network's input; UserError with the sequence's name if the shape or type is invalid."""
    if not isinstance(frames, np.ndarray) or frames_problem(frames):
        kind = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise UserError(
            f"{name} is {kind}: give a uint8 array (S, 64, 64) of S frames, 1 or more, each as "
            f"dygait.normalise_silhouette returns it"
        )
    try:
        prepared = model.transform(frames, np.random.default_rng(0))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    expected, size = model.info.input_size, list(prepared.shape[-2:])
    if expected is not None and size != list(expected):
        raise UserError(
            f"{name}: its frames of {frames.shape[-2]}x{frames.shape[-1]} become {size[0]}x{size[1]}, and the network "
            f"takes {expected[0]}x{expected[1]}; normalise the silhouettes to another height"
        )
    return prepared
