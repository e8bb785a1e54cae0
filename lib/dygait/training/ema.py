"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of a network whose weights follow the network's: average <- d * average + (1 - d) * weights.

    d is min(decay, (1 + t) / (10 + t)) after iteration t, so that the initial weights are soon forgotten. Buffers of
    floating point (running statistics) are averaged in the same way, others are copied. The network must not be
    compiled yet; the copy, `network`, is for testing.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int, skip: torch.Tensor) -> None:
        """Update the average after an iteration, counted from 1, unless `skip`, a bool tensor, is true."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        other = network.state_dict()
        for name, own in self.network.state_dict().items():
            if own.is_floating_point():
                own.lerp_(torch.where(skip, own, other[name]), 1 - decay)
            else:
                torch.where(skip, own, other[name], out=own)
