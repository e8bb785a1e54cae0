"""The weighted sum of losses, exact under any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from dygait import distributed
from dygait.errors import UserError
from dygait.losses.base import Loss, Statistics, at_least_float32, build_loss
from dygait.losses.views import contrast


class Outputs(Protocol):
    """The model outputs that losses read, such as `dygait.GaitOutput`."""

    embeddings: torch.Tensor
    logits: torch.Tensor | None
    predictions: torch.Tensor | None
    targets: torch.Tensor | None


class LossAggregator(nn.Module):
    """The weighted sum of loss terms.

    With DistributedDataParallel, which averages the gradients of processes, the gradient equals that of one process on
    the whole batch: a term that compares sequences gathers those of all processes, with gradient, and is multiplied by
    the number of processes; a term that is a mean over sequences needs neither.

    If a model predicts views instead of classes, terms that read logits read those of `views.contrast`: a single term
    those of all views; several divide the views among them, as GaitSSB's two terms do.

    Args:
        terms: `loss_cfg` mappings: `type`, keywords, `loss_term_weight`, `log_prefix`.
    """

    def __init__(self, terms: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        losses = [build_loss(term) for term in terms]
        self.losses = nn.ModuleList(losses)
        self.weights = [float(term.get("loss_term_weight", 1.0)) for term in terms]
        prefixes = [term.get("log_prefix") or loss.prefix for term, loss in zip(terms, losses, strict=True)]
        self.logit_terms = [index for index, loss in enumerate(losses) if loss.reads == "logits"]
        self.prefixes = [p if prefixes.count(p) == 1 else f"{p}{i}" for i, p in enumerate(prefixes)]
        if len(set(self.prefixes)) < len(self.prefixes):
            raise UserError(f"loss_cfg: give each term a log_prefix of its own; they are {', '.join(prefixes)}")

    def forward(
        self, outputs: Outputs, labels: torch.Tensor, class_labels: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, Statistics]:
        """Return the sum to differentiate, and statistics named `<prefix>/<statistic>`.

        Outputs and labels are this process's share of the batch: embeddings (n, C, P), logits (n, K, P) or None, labels
        (n,). Terms that read logits use `class_labels` (n,) instead of labels, unless it is None.

        Raises:
            UserError: a term reads logits and the model gives none.
        """
        world = distributed.world_size()
        total = torch.zeros((), device=labels.device)
        statistics: Statistics = {}
        for index, (loss, weight, prefix) in enumerate(zip(self.losses, self.weights, self.prefixes, strict=True)):
            assert isinstance(loss, Loss)
            inputs, targets = self._inputs(index, outputs, labels, class_labels)
            if loss.needs_whole_batch and world > 1:
                inputs = distributed.gather_with_gradient(at_least_float32(inputs))  # gathering must not round
                term, term_statistics = loss(inputs, distributed.gather(targets))
                total = total + weight * world * term
            else:
                term, term_statistics = loss(inputs, targets)
                total = total + weight * term
            statistics.update({f"{prefix}/{name}": value for name, value in term_statistics.items()})
        return total, statistics

    def _inputs(
        self, index: int, outputs: Outputs, labels: torch.Tensor, class_labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the output that a term reads, and its labels."""
        loss = self.losses[index]
        assert isinstance(loss, Loss)
        if index in self.logit_terms and outputs.predictions is not None and outputs.targets is not None:
            views = slice(self.logit_terms.index(index), None, len(self.logit_terms))
            return contrast(outputs.predictions[:, views], outputs.targets[:, views])
        inputs: torch.Tensor | None = getattr(outputs, loss.reads)
        if inputs is None:
            raise UserError(
                f"loss_cfg: {type(loss).__name__} reads logits, and the model gives none: set class_num or "
                f"SeparateBNNecks in model_cfg, or take the term out"
            )
        return inputs, class_labels if class_labels is not None and index in self.logit_terms else labels
