"""Logits of views: cosines of predictions with the other views of all sequences."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dygait import distributed
from dygait.losses.base import at_least_float32


def contrast(predictions: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cosines of predictions with the targets of the sequences of all processes, and the labels.

    Classes are the sequences of the batch, as in Chen et al., *A Simple Framework for Contrastive Learning of Visual
    Representations*, ICML 2020; part by part, as in GaitSSB.

    Args:
        predictions: (M, V, C, P) of this process's sequences.
        targets: (M, V, C, P), which get no gradient.

    Returns:
        Logits (M, K, V x P), in -1..1, for the K sequences of all processes in the order of their ranks, and labels
        (M,), the index of each sequence among them.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        predictions = F.normalize(at_least_float32(predictions), dim=2)
        targets = distributed.gather(F.normalize(at_least_float32(targets.detach()), dim=2))
        logits = torch.einsum("mvcp,kvcp->mkvp", predictions, targets).flatten(2)
    count = len(predictions)
    return logits, torch.arange(count, device=logits.device) + distributed.rank() * count
