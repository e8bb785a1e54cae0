"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """A copy of a network whose weights follow the network's: average <- d * average + (1 - d) * weights.

    d is min(decay, (1 + t) / (10 + t)) after iteration t, so that the beginning does not linger. Buffers in floating
    point (running statistics) are averaged the same way, others are copied.

    Args:
        network: what is followed; it must not be compiled yet.
        decay: between 0 and 1.

    Attributes:
        network: the copy, for testing.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, iteration: int) -> None:
        """Take in the network's weights after an iteration, counted from 1."""
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        own, other = self.network.state_dict(), network.state_dict()
        averaged = [name for name, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([own[n] for n in averaged], [other[n] for n in averaged], 1 - decay)
        for name in own.keys() - averaged:
            own[name].copy_(other[name])
