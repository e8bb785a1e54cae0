"""Gradient accumulation over parts of a batch, with the losses and the gradient of the whole batch.

Losses that compare sequences need the outputs of all of them, but memory suffices for the backward pass of one part
only. So each part is computed twice: without gradient, for the losses of the whole batch and their gradient with
respect to the outputs; then with gradient, to backpropagate from the outputs to the parameters. Gao et al., *Scaling
Deep Contrastive Learning Batch Size under Memory Limited Setup*, RepL4NLP 2021.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch

from dygait.data import Batch
from dygait.losses.base import Statistics
from dygait.modeling import GaitOutput

Forward = Callable[[int], GaitOutput]
ScaledLoss = Callable[[GaitOutput], tuple[torch.Tensor, Statistics]]


def split_batch(batch: Batch, count: int) -> list[Batch]:
    """Split a batch into `count` parts: sequence i goes to part i % count, so that every part has every subject."""
    return [
        Batch(
            batch.silhouettes[i::count],
            None if batch.lengths is None else batch.lengths[i::count],
            batch.labels[i::count],
            batch.sequences[i::count],
            tuple(other[i::count] for other in batch.others),
        )
        for i in range(count)
    ]


def backward_in_parts(
    forward: Forward,
    count: int,
    loss: ScaledLoss,
    buffers: Sequence[torch.Tensor],
    unsynchronised: Callable[[], contextlib.AbstractContextManager[object]],
) -> Statistics:
    """Add the gradient of a whole batch's loss to the parameters.

    The last part is computed once, the others twice. Running statistics are updated by the first pass only.

    Args:
        forward: computes a part; called twice for the same part, it must draw the same random numbers.
        count: the number of parts.
        loss: maps the concatenated outputs to the value to differentiate, and its statistics.
        buffers: of the network.
        unsynchronised: a context in which backward passes do not all-reduce gradients (`no_sync`).

    Returns:
        The loss's statistics.
    """
    with torch.no_grad():
        outputs = [forward(part) for part in range(count - 1)]
    with unsynchronised():
        outputs.append(forward(count - 1))
        embeddings, logits, inference = (_concatenate(fields) for fields in zip(*outputs, strict=True))
        assert embeddings is not None
        assert inference is not None
        whole = GaitOutput(embeddings, logits, inference)
        scaled, statistics = loss(whole)
        scaled.backward()
        sizes = [len(output.embeddings) for output in outputs]
        gradients = [_split_gradient(field, sizes) for field in whole]
        _backward_from(outputs.pop(), [field[-1] for field in gradients])
    saved = [buffer.clone() for buffer in buffers]
    for part in range(count - 1):
        with unsynchronised() if part < count - 2 else contextlib.nullcontext():
            _backward_from(forward(part), [field[part] for field in gradients])
    for buffer, value in zip(buffers, saved, strict=True):
        buffer.copy_(value)
    return statistics


def _concatenate(fields: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [field for field in fields if field is not None]
    return torch.cat(present).detach().requires_grad_() if present else None


def _split_gradient(field: torch.Tensor | None, sizes: list[int]) -> Sequence[torch.Tensor | None]:
    """Split the gradient of an output field into parts; None where there is none."""
    return [None] * len(sizes) if field is None or field.grad is None else field.grad.split(sizes)


def _backward_from(output: GaitOutput, gradients: list[torch.Tensor | None]) -> None:
    pairs = zip(output, gradients, strict=True)
    with_gradient = [(field, gradient) for field, gradient in pairs if field is not None and gradient is not None]
    torch.autograd.backward([field for field, _ in with_gradient], [gradient for _, gradient in with_gradient])
