"""The supervised contrastive loss."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from dygait.errors import UserError
from dygait.losses.base import LOSSES, Loss, Statistics


@LOSSES.register("SupConLoss", "SupConLoss_Re")
class SupConLoss(Loss):
    """Pull views of one id together and push those of others away, by a softmax over all pairs.

    Khosla et al., *Supervised Contrastive Learning*, NeurIPS 2020, https://arxiv.org/abs/2004.11362. An anchor's term
    is minus the mean log-probability of its positives: the other views of its id, among all views but itself.

    Args:
        temperature: what similarities are divided by.
        contrast_mode: anchors are `all` views, or the first of each sequence, `one`.
        base_temperature: the loss is multiplied by temperature / base_temperature.
        reduce_zero: average over the terms above zero alone.
        p: similarity is minus the distance in this norm, of features normalised in it; absent: the inner product of
            the features as they are.
        by_part: read embeddings as parts (N, C, P), one view of each sequence in each part, and average over parts;
            else as views (N, V, ...), as OpenGait does.
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
        """Return the mean over anchors, of views (N, V, ...), flattened beyond, or by parts (N, C, P); labels (N,).

        Raises:
            UserError: there is no axis of views.
        """
        if outputs.dim() < 3:
            raise UserError(f"SupConLoss reads (N, views, C) or, by_part, (N, C, P); it got {list(outputs.shape)}")
        # (G, N, V, C): each of G groups is a contrast of its own.
        features = outputs.permute(2, 0, 1).unsqueeze(2) if self.by_part else outputs.flatten(2).unsqueeze(0)
        terms = self._terms(features, labels)
        if not self.reduce_zero:
            return terms.mean(), {}
        above = terms.detach() > 0
        return (terms * above).sum() / above.sum().clamp(min=1), {}

    def _terms(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return every anchor's term (G, anchors) for features (G, N, V, C)."""
        views = features.shape[2]
        contrasts = features.transpose(1, 2).flatten(1, 2)  # all first views, then all second ones
        if self.p is not None:
            contrasts = F.normalize(contrasts, p=self.p, dim=2)
        anchors = contrasts if self.contrast_mode == "all" else contrasts[:, : len(labels)]
        similarity = (
            anchors @ contrasts.transpose(1, 2) if self.p is None else -torch.cdist(anchors, contrasts, p=self.p)
        )
        of = labels.repeat(views)
        others = ~torch.eye(anchors.shape[1], len(of), dtype=torch.bool, device=labels.device)
        positive = (of[: anchors.shape[1], None] == of) & others
        logits = similarity / self.temperature
        log_probability = logits - torch.logsumexp(logits.masked_fill(~others, -torch.inf), 2, keepdim=True)
        count = positive.sum(1).clamp(min=1)
        return -self.scale * log_probability.masked_fill(~positive, 0).sum(2) / count


@LOSSES.register("SupConLoss_Lp")
class EuclideanSupConLoss(SupConLoss):
    """`SupConLoss` by Euclidean distances between features of length 1, each sequence one view: GaitGraph2's.

    Teepe et al., *Towards a Deeper Understanding of Skeleton-based Gait Recognition*, CVPRW 2022.

    Args:
        temperature: what distances are divided by.
    """

    def __init__(self, temperature: float = 0.01) -> None:
        super().__init__(temperature, base_temperature=temperature, reduce_zero=True, p=2)

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the loss of features (N, ...), flattened beyond; as `SupConLoss`."""
        return super().compute(outputs.flatten(1).unsqueeze(1), labels)
