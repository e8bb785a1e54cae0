"""What every model returns."""

from __future__ import annotations

from typing import NamedTuple

import torch


class GaitOutput(NamedTuple):
    """What a gait network gives.

    The fields that `evaluator_cfg.feature` names are compared in a test in place of `inference`.

    Attributes:
        embeddings: (N, C, P), what the triplet loss reads.
        logits: (N, K, P), what the cross entropy reads; None for a model without a class head.
        inference: (N, C, P), what is compared at test time.
        after_neck: (N, C, P), what the logits of BNNecks are computed from; None for a model without BNNecks.
        predictions: (M, V, C, P) of V views of each of M sequences, for a model that trains without labels; from these
            and `targets` follow the logits (`losses.views`).
        targets: (M, V, C, P), without gradient: what each prediction should be like, and those of others unlike.
    """

    embeddings: torch.Tensor
    logits: torch.Tensor | None
    inference: torch.Tensor
    after_neck: torch.Tensor | None = None
    predictions: torch.Tensor | None = None
    targets: torch.Tensor | None = None
