"""Binary cross entropy of maps against masks."""

from __future__ import annotations

import torch

from dygait.errors import UserError
from dygait.losses.base import LOSSES, Loss, Statistics


@LOSSES.register("BinaryCrossEntropyLoss")
class BinaryCrossEntropyLoss(Loss):
    """Binary cross entropy of maps against masks: for `dygait.build_loss` only, since no model here predicts maps.

    The negative log-likelihood of the mask under a map of probabilities, averaged over pixels. For segmentation
    networks such as GaitEdge's (Liang et al., *GaitEdge: Beyond Plain End-to-end Gait Recognition for Better
    Practicality*, ECCV 2022): the maps are the `logits` that it reads, the masks are the labels.

    Args:
        eps: added to probabilities before taking their logarithm.
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

        `hard_loss` is that of the worst pixel, `miou` the mean over N of the intersection over union of the masks with
        the maps thresholded at 0.5.

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
            predicted = (outputs > 0.5).to(outputs.dtype)
            intersection, union = (predicted * masks).flatten(1).sum(1), ((predicted + masks) > 0).flatten(1).sum(1)
            statistics = {"hard_loss": terms.max(), "miou": (intersection / (union + 1e-9)).mean()}
        return terms.mean(), statistics
