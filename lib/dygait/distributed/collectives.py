"""Collectives; in a single process without a process group, they return their input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from dygait.distributed.group import is_main, rank, world_size
from dygait.distributed.heartbeat import collective
from dygait.errors import LocalError, UserError

T = TypeVar("T")


def barrier() -> None:
    """Wait for every process."""
    if world_size() > 1:
        with collective("a barrier"):
            dist.barrier()


def broadcast_tensors(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    if world_size() > 1:
        with collective("a broadcast of tensors"):
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def main_first(work: Callable[[], T]) -> T:
    """Run `work` on rank 0, then on the others; a UserError of rank 0 is raised by every process.

    For functions whose first call writes something that later calls read, such as the folders of a run.
    """
    if world_size() == 1:
        return work()
    result, failure = _attempt(work) if is_main() else (None, None)
    failure = broadcast_object(failure)
    if failure is not None:
        raise UserError(failure)
    if is_main():
        return result  # type: ignore[return-value]
    try:
        return work()
    except UserError as error:  # failed on this process only: a folder that only the machine of rank 0 can access
        raise LocalError(f"process {rank()}: {error}") from None


def on_main(work: Callable[[], T]) -> T:
    """Run `work` on rank 0, and return its result, which must be picklable, or raise its UserError on every process."""
    result, failure = broadcast_object(_attempt(work) if is_main() else (None, None))
    if failure is not None:
        raise UserError(failure)
    return result  # type: ignore[return-value]


def _attempt(work: Callable[[], T]) -> tuple[T | None, str | None]:
    """Return the result of `work`, and the message of its UserError."""
    try:
        return work(), None
    except UserError as error:
        return None, str(error)


def broadcast_object(value: T) -> T:
    """Return the value of rank 0 on every process; it must be picklable."""
    objects: list[Any] = [value]
    if world_size() > 1:
        with collective("a broadcast"):
            dist.broadcast_object_list(objects, src=0)
    return objects[0]


def all_gather_object(value: T) -> list[T]:
    """Return the values of all processes, in rank order, on every process; they must be picklable."""
    values: list[Any] = [value]
    if world_size() > 1:
        values = [None] * world_size()
        with collective("a gather"):
            dist.all_gather_object(values, value)
    return values


def once_per_machine(work: Callable[[], None]) -> None:
    """Run `work` on one process of every machine, while the others wait; its UserError is raised by every process."""
    is_first = int(os.environ.get("LOCAL_RANK", rank())) == 0
    _, failure = _attempt(work) if is_first else (None, None)
    failures = [message for message in all_gather_object(failure) if message is not None]
    if failures:
        raise UserError(failures[0])


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate the rows of all processes; backward returns the gradient of this process's rows, without traffic."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.count = rows.shape[0]
        return gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        start = rank() * ctx.count
        return gradients[0][start : start + ctx.count]


def gather_with_gradient(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate a tensor (n, ...) of equal shape on every process to (world * n, ...), in rank order, with gradient.

    Every process must compute the same loss of the result: then the gradient of a process's own rows is complete, and
    no sum over processes is needed. Since DistributedDataParallel averages parameter gradients over processes, a loss
    of gathered rows must be multiplied by `world_size()` to give the gradient of one process on the whole batch, as
    `losses.LossAggregator` does.
    """
    if world_size() == 1:
        return rows
    return _GatherWithGradient.apply(rows)


def gather(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate a tensor (n, ...) of equal shape on every process, in rank order, without gradient."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    with collective("the exchange of embeddings"):
        dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor of equal shape over the processes, without gradient."""
    if world_size() == 1:
        return tensor
    result = tensor.detach().clone(memory_format=torch.contiguous_format)
    with collective("a sum over the processes"):
        dist.all_reduce(result)
    return result


def mean_over_processes(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Average named numbers over the processes; the names must be the same on every process."""
    if world_size() == 1:
        return values
    packed = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64, device=device)
    means = sum_over_processes(packed) / world_size()
    return dict(zip(sorted(values), means.tolist(), strict=True))
