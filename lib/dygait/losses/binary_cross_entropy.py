"""Binary cross entropy of maps against masks."""

from __future__ import annotations

import torch

from dygait.errors import UserError
from dygait.losses.base import LOSSES, Loss, Statistics


@LOSSES.register("BinaryCrossEntropyLoss")
class BinaryCrossEntropyLoss(Loss):
    """Binary cross entropy of maps against masks: for `dygait.build_loss` only, since no model here makes maps.

    Minus the log of the probability that a map of probabilities gives to each pixel's mask, averaged over pixels. For
    networks that segment, such as GaitEdge's (Liang et al., *GaitEdge: Beyond Plain End-to-end Gait Recognition for
    Better Practicality*, ECCV 2022): the maps are what it reads as `logits`, the masks are the labels.

    Args:
        eps: what is added before a logarithm is taken.
    """

    reads = "logits"
    compares_with = "masks"
    needs_whole_batch = False
    prefix = "bce"

    def __init__(self, eps: float = 1e-9) -> None:
        super().__init__()
        self.eps = eps

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss of probabilities (N, ...), such as (N, 1, H, W), for masks of the same shape, 0 or 1.

        `hard_loss` is the worst pixel's, `miou` the mean over N of the intersection over union of the maps above 0.5
        with the masks.

        Raises:
            UserError: the shapes differ.
        """
        if outputs.shape != labels.shape:
            raise UserError(
                f"BinaryCrossEntropyLoss compares maps with masks of the same shape, got {list(outputs.shape)} and "
                f"{list(labels.shape)}; for the ids of sequences, CrossEntropyLoss"
            )
        masks = labels.to(outputs.dtype)
        terms = -(masks * torch.log(outputs + self.eps) + (1 - masks) * torch.log(1 - outputs + self.eps))
        with torch.no_grad():
            found = (outputs > 0.5).to(outputs.dtype)
            both, either = (found * masks).flatten(1).sum(1), ((found + masks) > 0).flatten(1).sum(1)
            statistics = {"hard_loss": terms.max(), "miou": (both / (either + 1e-9)).mean()}
        return terms.mean(), statistics
