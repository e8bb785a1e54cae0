"""Losses on embeddings and logits."""

from dygait.losses import binary_cross_entropy, cross_entropy, supervised_contrastive, triplet
from dygait.losses.aggregator import LossAggregator
from dygait.losses.base import LOSSES, Loss, build_loss, loss_problems
