"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of a network with averaged weights: average <- d * average + (1 - d) * weights.

    d is min(decay, (1 + t) / (10 + t)) after iteration t, so that the influence of the initial weights vanishes soon.
    Floating-point buffers (running statistics) are averaged too, others are copied. The network must not be compiled
    yet; the copy, `network`, is for testing.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int, skip: torch.Tensor) -> None:
        """Update the average after an iteration, counted from 1, unless `skip`, a bool tensor, is true."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        weights = network.state_dict()
        for name, average in self.network.state_dict().items():
            if average.is_floating_point():
                average.lerp_(torch.where(skip, average, weights[name]), 1 - decay)
            else:
                torch.where(skip, average, weights[name], out=average)
