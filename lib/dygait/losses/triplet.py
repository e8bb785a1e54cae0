"""The batch-all triplet loss, per part."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from dygait.losses.base import LOSSES, Loss, Statistics


def pairwise_distance(x: torch.Tensor) -> torch.Tensor:
    """Return Euclidean distances (P, N, N) of embeddings (P, N, C), with a gradient of zero where a distance is zero.

    They follow from the Gram matrix, which is one batched product. The first embedding is subtracted from all: where
    they lie close together, as at the start of training, the rounding of squared norms would otherwise hide their
    differences. (Subtracting the mean instead would make equal distances unequal.) Squared distances below a few
    rounding errors of the squared norms are set to zero, so that equal embeddings have distance zero and no gradient.
    """
    x = x - x[:, :1].detach()
    squared = (x * x).sum(2)
    gram = torch.matmul(x, x.transpose(1, 2))
    sums = squared.unsqueeze(2) + squared.unsqueeze(1)
    difference = sums - 2 * gram
    meaningful = ~(difference <= sums * (8 * torch.finfo(x.dtype).eps))  # written so that NaN stays NaN
    return torch.where(meaningful, difference, 1.0).sqrt() * meaningful


class _Violations(torch.autograd.Function):
    """Sum relu(d(a, p) - d(a, n) + margin) over all triplets of a part, and count those that are not zero.

    Without a number for each of the N^3 triplets: the negatives of an anchor are sorted, a binary search counts those
    nearer than a positive plus the margin, and a cumulative sum gives the sum of their distances. The gradient of a
    distance is the number of triplets that it is in.
    """

    @staticmethod
    def forward(
        ctx: Any, distance: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return total and count, each (P,), for distances (P, N, N) and masks (N, N)."""
        reach = distance + margin
        nearest_first = distance.masked_fill(~negative, torch.inf).sort(2).values
        of_positive = torch.searchsorted(nearest_first, reach) * positive
        # In float64: the difference of two sums over many distances may be small.
        running = F.pad(nearest_first.masked_fill(nearest_first == torch.inf, 0).double().cumsum(2), (1, 0))
        sums = of_positive * reach.double() - running.gather(2, of_positive)
        total = torch.where(positive, sums, 0).sum((1, 2)).to(distance.dtype)
        reaches = reach.masked_fill(~positive, -torch.inf).sort(2).values
        of_negative = (distance.shape[2] - torch.searchsorted(reaches, distance, right=True)) * negative
        ctx.save_for_backward((of_positive - of_negative).to(distance.dtype))
        count = of_positive.sum((1, 2))
        ctx.mark_non_differentiable(count)
        return total, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (counts,) = ctx.saved_tensors
        return counts * gradient[:, None, None], None, None, None


@LOSSES.register("TripletLoss")
class TripletLoss(Loss):
    """relu(d(a, p) - d(a, n) + margin) over all triplets of a part, averaged over those that are not zero.

    Hermans et al., *In Defense of the Triplet Loss for Person Re-Identification*, 2017; by part: Chao et al.,
    *GaitSet*, AAAI 2019. The field's published numbers count an anchor as its own positive; so does this by default.

    Args:
        margin: how much farther the negative must be.
        exclude_self: do not count an anchor as its own positive.
    """

    reads = "embeddings"
    needs_whole_batch = True
    prefix = "triplet"

    def __init__(self, margin: float = 0.2, exclude_self: bool = False) -> None:
        super().__init__()
        self.margin = margin
        self.exclude_self = exclude_self

    def compute(self, outputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Statistics]:
        """Return the mean over parts of each part's mean over its non-zero triplets (zero if it has none).

        Of embeddings (N, C, P) and labels (N,), any integers. The statistics are means over parts: `hard_loss` (each
        anchor's farthest positive against its nearest negative), `loss_num` (the non-zero triplets), `mean_dist`.
        """
        distance = pairwise_distance(outputs.permute(2, 0, 1))
        same = labels[:, None] == labels[None, :]
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device) if self.exclude_self else same
        total, count = _Violations.apply(distance, positive, ~same, self.margin)
        loss = (total / count.clamp(min=1)).mean()
        with torch.no_grad():
            farthest = distance.masked_fill(~positive, -torch.inf).amax(2)
            nearest = distance.masked_fill(same, torch.inf).amin(2)
            hard = F.relu(farthest - nearest + self.margin).nan_to_num(0.0, 0.0, 0.0)
            loss_num = count.to(distance.dtype).mean()
            statistics = {"hard_loss": hard.mean(), "loss_num": loss_num, "mean_dist": distance.mean()}
        return loss, statistics
