"""The supervised contrastive loss."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from dygait.errors import UserError
from dygait.losses.base import LOSSES, Loss, Statistics


@LOSSES.register("SupConLoss", "SupConLoss_Re")
class SupConLoss(Loss):
    """The supervised contrastive loss: a softmax over the similarities of all pairs of views.

    Khosla et al., *Supervised Contrastive Learning*, NeurIPS 2020, https://arxiv.org/abs/2004.11362. The term of an
    anchor is the negative mean log-probability of its positives, the other views of its id, among all other views.

    Args:
        temperature: divisor of similarities.
        contrast_mode: anchors are `all` views, or the first of each sequence, `one`.
        base_temperature: the loss is multiplied by temperature / base_temperature.
        reduce_zero: average over the terms above zero only.
        p: similarity is the negative distance in this norm between features normalised in it; absent: the inner
            product of unnormalised features.
        by_part: read embeddings as parts (N, C, P), with one view of each sequence, and average over parts; else as
            views (N, V, ...), as OpenGait does.
    """

    reads = "embeddings"
    needs_whole_batch = True
    prefix = "supcon"

    def __init__(
        self,
        temperature: float = 0.01,
        contrast_mode: Literal["all", "one"] = "all",
        base_temperature: float = 0.07,
        reduce_zero: bool = False,
        p: float | None = None,
        by_part: bool = False,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.contrast_mode = contrast_mode
        self.scale = temperature / base_temperature
        self.reduce_zero = reduce_zero
        self.p = p
        self.by_part = by_part

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the mean over anchors for views (N, V, ...) or, `by_part`, parts (N, C, P), and labels (N,).

        Raises:
            UserError: there are fewer than three dimensions.
        """
        if outputs.dim() < 3:
            raise UserError(f"SupConLoss reads (N, views, C) or, by_part, (N, C, P); it got {list(outputs.shape)}")
        # (G, N, V, C): each of G groups is contrasted separately.
        features = outputs.permute(2, 0, 1).unsqueeze(2) if self.by_part else outputs.flatten(2).unsqueeze(0)
        terms = self._terms(features, labels)
        if not self.reduce_zero:
            return terms.mean(), {}
        positive = terms.detach() > 0
        return (terms * positive).sum() / positive.sum().clamp(min=1), {}

    def _terms(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the term of each anchor (G, anchors) for features (G, N, V, C)."""
        views = features.shape[2]
        contrasts = features.transpose(1, 2).flatten(1, 2)  # all first views, then all second ones
        if self.p is not None:
            contrasts = F.normalize(contrasts, p=self.p, dim=2)
        anchors = contrasts if self.contrast_mode == "all" else contrasts[:, : len(labels)]
        similarity = (
            anchors @ contrasts.transpose(1, 2) if self.p is None else -torch.cdist(anchors, contrasts, p=self.p)
        )
        labels = labels.repeat(views)
        not_self = ~torch.eye(anchors.shape[1], len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[: anchors.shape[1], None] == labels) & not_self
        logits = similarity / self.temperature
        log_probability = logits - torch.logsumexp(logits.masked_fill(~not_self, -torch.inf), 2, keepdim=True)
        count = positive.sum(1).clamp(min=1)
        return -self.scale * log_probability.masked_fill(~positive, 0).sum(2) / count


@LOSSES.register("SupConLoss_Lp")
class EuclideanSupConLoss(SupConLoss):
    """`SupConLoss` with Euclidean distances between features of length 1 and one view of each sequence, of GaitGraph2.

    Teepe et al., *Towards a Deeper Understanding of Skeleton-based Gait Recognition*, CVPRW 2022.

    Args:
        temperature: divisor of distances.
    """

    def __init__(self, temperature: float = 0.01) -> None:
        super().__init__(temperature, base_temperature=temperature, reduce_zero=True, p=2)

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss of features (N, ...) and labels (N,); as `SupConLoss`."""
        return super().compute(outputs.flatten(1).unsqueeze(1), labels)
