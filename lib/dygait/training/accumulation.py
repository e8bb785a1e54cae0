"""Gradient accumulation over parts of a batch, with the losses and the gradient of the whole batch.

Losses that compare sequences need the outputs of all. So each part is computed twice: without gradient, for the losses
of the whole batch and their gradient with respect to the outputs; then with gradient, to backpropagate the latter. Gao
et al., *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup*, RepL4NLP 2021.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from dygait.data.collate import Batch
from dygait.losses.base import Statistics
from dygait.modeling import GaitOutput


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into `count` parts: sequence i goes to part i % count, which distributes each subject evenly."""

    def part(rows: slice) -> Batch:
        lengths = None if batch.lengths is None else batch.lengths[rows]
        return replace(batch.map(lambda tensor: tensor[rows]), lengths=lengths, sequences=batch.sequences[rows])

    return [part(slice(i, None, count)) for i in range(count)]


def backward_in_parts(
    forward: Callable[[int], GaitOutput],
    count: int,
    loss: Callable[[GaitOutput], tuple[torch.Tensor, Statistics]],
    buffers: Sequence[torch.Tensor],
    unsynchronised: Callable[[], contextlib.AbstractContextManager[object]],
) -> Statistics:
    """Add the gradient of the loss of a whole batch to the parameters, and return the statistics of the loss.

    Args:
        forward: returns the output of a part; it must draw the same random numbers whenever it is called, since the
            last part is computed once, the others twice.
        count: the number of parts.
        loss: maps the concatenated outputs to the value to differentiate, and statistics.
        buffers: the network's running statistics, which only the first pass updates.
        unsynchronised: a context in which backward passes do not all-reduce gradients (`no_sync`).
    """
    with torch.no_grad():
        outputs = [forward(part) for part in range(count - 1)]
    with unsynchronised():
        outputs.append(forward(count - 1))
        batch_output = GaitOutput(*map(_concatenate, zip(*outputs, strict=True)))
        loss_value, statistics = loss(batch_output)
        loss_value.backward()
        gradients = [
            None if field is None or field.grad is None else field.grad.split([*map(len, parts)])
            for field, parts in zip(batch_output, zip(*outputs, strict=True), strict=True)
        ]
        _backward_from(outputs.pop(), gradients, count - 1)
    saved = [buffer.clone() for buffer in buffers]
    for part in range(count - 1):
        with unsynchronised() if part < count - 2 else contextlib.nullcontext():
            _backward_from(forward(part), gradients, part)
    for buffer, value in zip(buffers, saved, strict=True):
        buffer.copy_(value)
    return statistics


def _concatenate(fields: Sequence[torch.Tensor | None]) -> Any:
    present = [field for field in fields if field is not None]
    return torch.cat(present).detach().requires_grad_() if present else None


def _backward_from(output: GaitOutput, gradients: Sequence[Sequence[torch.Tensor] | None], part: int) -> None:
    """Backpropagate from a part's output; `gradients` has the gradients of all parts for each field, or None."""
    pairs = [(field, g[part]) for field, g in zip(output, gradients, strict=True) if field is not None and g]
    torch.autograd.backward([field for field, _ in pairs], [gradient for _, gradient in pairs])
