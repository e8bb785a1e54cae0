"""A model without weights for galleries, and sequences of people of different widths."""

from __future__ import annotations

import numpy as np
import torch

from conftest import blob_walk
from dygait.data.transforms import build_transform
from dygait.deployment import WeightsInfo

CHANNELS, PARTS = 11, 4


class MeanSilhouette:
    """A model for `dygait.embed` whose features are gait energy images; `identity` is that of its weights."""

    def __init__(self, identity: str = "a" * 64, metric: str = "euc") -> None:
        training = {"config": {"evaluator_cfg": {"metric": metric}}}
        self.info = WeightsInfo("made", identity, {}, {"type": "BaseSilCuttingTransform"}, None, None, training)
        self.transform = build_transform({"type": "BaseSilCuttingTransform"})

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        counts = torch.full((len(silhouettes),), silhouettes.shape[1]) if lengths is None else lengths
        image = silhouettes.sum(1) / counts[:, None, None]
        return torch.nn.functional.adaptive_avg_pool2d(image, (PARTS, CHANNELS)).transpose(1, 2)


def walks(person: int, count: int = 2, frames: int = 45, seed: int = 0) -> list[np.ndarray]:
    """Return sequences of one of ten people, uint8 (S, 64, 64) each."""
    width, rngs = 0.07 + 0.015 * person, (np.random.default_rng((seed, person, n)) for n in range(count))
    return [blob_walk(frames, (64, 64), width, rng) for rng in rngs]
