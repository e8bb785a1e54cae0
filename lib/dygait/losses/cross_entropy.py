"""Cross entropy over the logits of every part."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dygait.losses.base import LOSSES, Loss, Statistics


@LOSSES.register("CrossEntropyLoss")
class CrossEntropyLoss(Loss):
    """Softmax cross entropy of scaled logits, averaged over sequences and parts.

    Label smoothing: Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016.

    Args:
        scale: factor of the logits: 16 for cosines, 1 for plain logits.
        label_smooth: whether to distribute `eps` of each label over all classes.
        eps: label smoothing.
        log_accuracy: whether to report how often the right class has the largest logit.
    """

    reads = "logits"
    needs_whole_batch = False
    prefix = "softmax"

    def __init__(
        self, scale: float = 16.0, label_smooth: bool = True, eps: float = 0.1, log_accuracy: bool = False
    ) -> None:
        super().__init__()
        self.scale = scale
        self.smoothing = eps if label_smooth else 0.0
        self.log_accuracy = log_accuracy

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss of logits (N, K, P) for labels (N,), 0 to K - 1, and `accuracy` in 0..1 if asked for."""
        # One row for each part of each sequence, parts first: the memory layout of models that compute part by part.
        logits = outputs.permute(2, 0, 1).flatten(0, 1) * self.scale
        target = labels.repeat(outputs.shape[2])
        loss = F.cross_entropy(logits, target, label_smoothing=self.smoothing)
        if not self.log_accuracy:
            return loss, {}
        return loss, {"accuracy": (logits.detach().argmax(1) == target).float().mean()}
