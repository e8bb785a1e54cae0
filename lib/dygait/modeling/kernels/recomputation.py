"""Activation checkpointing that updates the running statistics once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(module: nn.Module, function: Callable[..., torch.Tensor], *inputs: Any) -> torch.Tensor:
    """Return `function(*inputs)`, saving only the inputs: the backward pass runs the function again.

    The running statistics of `module`, whose BatchNorms the function uses, are updated only once.
    """
    return checkpoint(
        function, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _frozen_statistics(module))
    )


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Do not update the running statistics of BatchNorms in the second pass over the same batch."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
