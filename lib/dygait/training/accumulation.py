"""A batch computed in parts, with the losses and the gradient of the whole.

Losses that compare sequences must see all of them, but the memory that a backward pass needs holds only a part. So each
part's outputs are computed twice: once without what a backward pass needs, for the losses of the whole batch and their
gradient with respect to the outputs; then again, with that gradient to go on from. Gao et al., *Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup*, RepL4NLP 2021.
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


def split(batch: Batch, count: int) -> list[Batch]:
    """Deal a batch out to parts, a sequence to each in turn, so that every part holds sequences of every person."""
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

    The last part is computed once, the others twice. Running statistics are those of the first time, so that each
    sequence counts once.

    Args:
        forward: the network's output for a part; called again, it must draw the same random numbers.
        count: how many parts there are.
        loss: of the outputs of all parts, part after part: what to differentiate, and its statistics.
        buffers: those of the network.
        unsynchronised: a context in which backward passes leave the exchange between processes to a later one.

    Returns:
        The loss's statistics.
    """
    with torch.no_grad():
        outputs = [forward(part) for part in range(count - 1)]
    with unsynchronised():
        outputs.append(forward(count - 1))
        embeddings, logits, inference = (_joined(fields) for fields in zip(*outputs, strict=True))
        assert embeddings is not None
        assert inference is not None
        whole = GaitOutput(embeddings, logits, inference)
        scaled, statistics = loss(whole)
        scaled.backward()
        sizes = [len(output.embeddings) for output in outputs]
        gradients = [_parts(field, sizes) for field in whole]
        _backward(outputs.pop(), [field[-1] for field in gradients])
    counted = [buffer.clone() for buffer in buffers]
    for part in range(count - 1):
        with unsynchronised() if part < count - 2 else contextlib.nullcontext():
            _backward(forward(part), [field[part] for field in gradients])
    for buffer, value in zip(buffers, counted, strict=True):
        buffer.copy_(value)
    return statistics


def _joined(fields: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    present = [field for field in fields if field is not None]
    return torch.cat(present).detach().requires_grad_() if present else None


def _parts(field: torch.Tensor | None, sizes: list[int]) -> Sequence[torch.Tensor | None]:
    """Return the gradient that has reached a field of the output, part by part; None where none has."""
    return [None] * len(sizes) if field is None or field.grad is None else field.grad.split(sizes)


def _backward(output: GaitOutput, gradients: list[torch.Tensor | None]) -> None:
    pairs = zip(output, gradients, strict=True)
    reached = [(field, gradient) for field, gradient in pairs if field is not None and gradient is not None]
    torch.autograd.backward([field for field, _ in reached], [gradient for _, gradient in reached])
