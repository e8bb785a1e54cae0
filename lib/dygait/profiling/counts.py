"""Parameters and multiply-adds of a network, counted on fake tensors, which allocate no memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from dygait.modeling.build import takes
from dygait.modeling.dry_run import forward_once


@dataclass(frozen=True)
class NetworkCounts:
    """Parameters of a network, and its multiply-adds for one sequence.

    There is a multiply-add for each product of a convolution or matrix product, products with zero padding included.
    """

    parameters: int
    without_class_head: int  # parameters that the embeddings depend on
    forward: int  # multiply-adds of the forward pass
    backward: int


def plain_form(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete `model_cfg` whose DAMs, if any, are computed by the formula of the paper."""
    return {**settings, "dam": "plain"} if takes(settings["model"], "dam") else dict(settings)


def count_network(settings: Mapping[str, Any], sizes: Sequence[tuple[int, int]], frames: int) -> NetworkCounts:
    """Count parameters and multiply-adds of a complete `model_cfg`, for `frames` of `sizes` (H, W) of each modality."""
    with FakeTensorMode():
        with FlopCounterMode(display=False) as counter:
            model, output = forward_once(settings, None, sizes, frames)
            forward = counter.get_total_flops()
            outputs = [t for t in (output.embeddings, output.logits) if t is not None]
            torch.autograd.backward(outputs, [torch.empty_like(t) for t in outputs], retain_graph=True)
            backward = counter.get_total_flops() - forward
        parameters = list(model.parameters())
        features = output.embeddings.sum() + output.inference.sum()
        gradients = torch.autograd.grad(features, parameters, allow_unused=True)
    return NetworkCounts(
        sum(p.numel() for p in parameters),
        sum(p.numel() for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None),
        # A multiply-add is two of PyTorch's FLOPs.
        forward // (2 * len(output.embeddings)),
        backward // (2 * len(output.embeddings)),
    )
