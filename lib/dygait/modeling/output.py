"""What every model returns."""

from __future__ import annotations

from typing import NamedTuple

import torch


class GaitOutput(NamedTuple):
    """The three things that a gait network gives.

    Attributes:
        embeddings: (N, C, P), what the triplet loss reads.
        logits: (N, K, P), what the cross entropy reads; None for a model without a class head.
        inference: (N, C, P), what is compared at test time.
    """

    embeddings: torch.Tensor
    logits: torch.Tensor | None
    inference: torch.Tensor
