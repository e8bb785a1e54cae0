"""Losses: what the network's outputs are pulled towards."""

from dygait.losses import cross_entropy, triplet
from dygait.losses.aggregator import LossAggregator
from dygait.losses.base import LOSSES, Loss, build_loss

__all__ = ["LOSSES", "Loss", "LossAggregator", "build_loss", "cross_entropy", "triplet"]
