"""Gradient accumulation over parts of a batch, with the losses and the gradient of the whole batch.

Losses that compare sequences need the outputs of all. So each part is computed twice: without gradient, for the losses
of the whole batch and their gradient with respect to the outputs; then with gradient, to backpropagate from there. Gao
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
    """Split a batch into `count` parts: sequence i goes to part i % count, so that every part has every subject."""

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
    """Add the gradient of a whole batch's loss to the parameters, and return the loss's statistics.

    The last part is computed once, the others twice: `forward` must draw the same random numbers. Running statistics,
    the network's buffers, are updated by the first pass only. `loss` maps the concatenated outputs to the value to
    differentiate; backward passes in the context `unsynchronised` do not all-reduce gradients (`no_sync`).
    """
    with torch.no_grad():
        outputs = [forward(part) for part in range(count - 1)]
    with unsynchronised():
        outputs.append(forward(count - 1))
        whole = GaitOutput(*map(_concatenate, zip(*outputs, strict=True)))
        scaled, statistics = loss(whole)
        scaled.backward()
        gradients = [
            None if field is None or field.grad is None else field.grad.split([*map(len, parts)])
            for field, parts in zip(whole, zip(*outputs, strict=True), strict=True)
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
    """Backpropagate from a part's output; `gradients` holds those of each field by parts, None where there are none."""
    pairs = [(field, own[part]) for field, own in zip(output, gradients, strict=True) if field is not None and own]
    torch.autograd.backward([field for field, _ in pairs], [gradient for _, gradient in pairs])
