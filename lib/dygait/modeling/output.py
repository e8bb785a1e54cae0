"""The output of every model."""

from __future__ import annotations

from typing import NamedTuple

import torch


class GaitOutput(NamedTuple):
    """The output of a gait network.

    A test compares `inference`, or the field that `evaluator_cfg.feature` names.

    Attributes:
        embeddings: (N, C, P), the input of the triplet loss.
        logits: (N, K, P), the input of the cross entropy; None for a model without a class head.
        inference: (N, C, P), the features that a test compares.
        after_neck: (N, C, P), the features from which BNNecks compute logits; None for a model without BNNecks.
        predictions: (M, V, C, P) of V views of each of M sequences, for a model that trains without labels, whose
            logits are computed from these and `targets` (`losses.views`).
        targets: (M, V, C, P), without gradient: the positive of each prediction, and the negatives of the others.
    """

    embeddings: torch.Tensor
    logits: torch.Tensor | None
    inference: torch.Tensor
    after_neck: torch.Tensor | None = None
    predictions: torch.Tensor | None = None
    targets: torch.Tensor | None = None
