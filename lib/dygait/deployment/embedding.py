"""Sequences of silhouettes to features, by weights that know how their input is prepared."""

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
_FRAMES = 512  # of a batch, padding included: larger ones do not stay in a CPU's cache


class EmbeddingModel(Protocol):
    """What `embed` needs of a model: those of `load_pretrained` and of `load_exported` have it."""

    info: WeightsInfo
    transform: Transform

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return (N, C, P) for frames as of `dygait.build_model` and lengths (N,), None if all have S frames."""


@torch.inference_mode()
def embed(model: EmbeddingModel, sequences: Sequence[np.ndarray]) -> np.ndarray:
    """Embed sequences of normalised silhouettes.

    Args:
        model: of `dygait.load_pretrained` or `dygait.load_exported`.
        sequences: N arrays, at least one, each uint8 (S, 64, 64) of frames as `dygait.normalise_silhouette` gives them,
            S at least 1 and not the same for all. They are cut and resized as the weights want. Weights that want
            frames of several channels take (S, channels, 64, 64).

    Returns:
        float32 (N, C, P): C channels, P parts. A sequence gives the same alone and among others (to 1e-5 of the largest
        value).

    Raises:
        UserError: a sequence is of another form, or the model does not know how its input is prepared.
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
    found: list[tuple[int, np.ndarray]] = []
    for indices in InferenceSampler([len(frames) for frames in prepared], _FRAMES).batches:
        batch = collate([Sample(prepared[i], -1, i, divisors=(model.transform.divisor,)) for i in indices])
        silhouettes = batch.scaled()
        assert isinstance(silhouettes, torch.Tensor)
        features = model.features(silhouettes, batch.lengths)
        found += zip(indices, features.float().cpu().numpy(), strict=True)
    by_window = np.stack([own for _, own in sorted(found, key=lambda pair: pair[0])])
    return mean_of_windows(torch.from_numpy(by_window), torch.tensor(owners), len(sequences)).numpy()


def embed_stored(model: EmbeddingModel, store: Store, indices: Sequence[int]) -> np.ndarray:
    """Embed sequences of a store, some at a time: float32 (N, C, P), as `embed`."""
    groups = [indices[start : start + _AT_A_TIME] for start in range(0, len(indices), _AT_A_TIME)]
    return np.concatenate([embed(model, [np.asarray(store.read(index)) for index in group]) for group in groups])


def _windows(info: WeightsInfo, frames: np.ndarray) -> list[np.ndarray]:
    """Return what is embedded of a sequence: every `frames_step`-th frame, in windows where the weights want them."""
    frames, size = frames[:: info.frames_step], info.frames_window
    if size is None:
        return [frames]
    return [frames[start : start + size] for start in window_starts(len(frames), size)]


def prepare(model: EmbeddingModel, frames: np.ndarray, name: str) -> np.ndarray:
    """Return a sequence's frames as the network takes them; UserError with its name if they are of another form."""
    if not isinstance(frames, np.ndarray) or frames_problem(frames):
        found = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise UserError(
            f"{name} is {found}: give a uint8 array (S, 64, 64) of S frames, 1 or more, each as "
            f"dygait.normalise_silhouette returns it"
        )
    try:
        prepared = model.transform(frames, np.random.default_rng(0))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    wanted, size = model.info.input_size, list(prepared.shape[-2:])
    if wanted is not None and size != list(wanted):
        raise UserError(
            f"{name}: its frames of {frames.shape[-2]}x{frames.shape[-1]} become {size[0]}x{size[1]}, and the network "
            f"takes {wanted[0]}x{wanted[1]}; normalise the silhouettes to another height"
        )
    return prepared
