"""Process group, device and collectives: CUDA with NCCL if there is a GPU for every process, else the CPU with Gloo.

Every function works in a single process without a process group.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook, fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from dygait import rendezvous
from dygait.errors import LocalError, LostProcessError, UserError
from dygait.heartbeat import Heartbeat
from dygait.machine import available_cores

T = TypeVar("T")

_COMPRESSION = {"float16": (fp16_compress_hook, torch.float16), "bfloat16": (bf16_compress_hook, torch.bfloat16)}
# Newer versions of PyTorch have renamed the argument.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)

_BACKSTOP = 60.0
"""By how many seconds the timeout of the backend, which names no process, exceeds that of the heartbeat."""
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)

_heartbeat: Heartbeat | None = None


def rank() -> int:
    """Return the rank of this process; 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes; 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Return whether this process is rank 0, which writes and prints."""
    return rank() == 0


def local_processes() -> int:
    """Return the number of processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", "1")))


def choose_device(local_rank: int, processes: int) -> torch.device:
    """Return the GPU of this process if every process on the machine has one, else the CPU."""
    if torch.cuda.is_available() and torch.cuda.device_count() >= processes:
        return torch.device("cuda", local_rank)
    return torch.device("cpu")


@contextlib.contextmanager
def process_group(local_rank: int | None = None, timeout: float = 1800.0) -> Iterator[torch.device]:
    """Join the launcher's process group, if there is one, within a `with` block; yields the device.

    Args:
        local_rank: from the command line of an old launcher; LOCAL_RANK in the environment has precedence.
        timeout: how many seconds a collective may wait for the slowest process; then the run ends and names the
            missing processes.

    Raises:
        UserError: not all processes join.
    """
    local = int(os.environ.get("LOCAL_RANK", local_rank or 0))
    device = choose_device(local, local_processes())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        # Launchers set OMP_NUM_THREADS=1, which would leave cores idle on a CPU; without it, each of several processes
        # would use all cores.
        torch.set_num_threads(max(1, available_cores() // local_processes()))
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield device
        return
    _end_with_launcher()
    try:
        _join(device, timedelta(seconds=timeout + _BACKSTOP))
    except dist.DistError as error:
        raise UserError(
            f"not all of {os.environ['WORLD_SIZE']} processes have met at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')}: {str(error).splitlines()[0]}"
        ) from None
    try:
        with _heartbeat_running(timeout):
            yield device
    except BaseException as error:
        _clear_frames(error)
        raise
    finally:
        dist.destroy_process_group()


def _clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of the frames of an exception, which may include the network.

    Otherwise DistributedDataParallel holds the last reference to the process group, which is then destroyed with the
    GIL held: it joins its threads, one of which waits for the GIL.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _join(device: torch.device, timeout: timedelta) -> None:
    """Make the process group."""
    gpu = device.type == "cuda"
    dist.init_process_group(
        backend="nccl" if gpu else "gloo",
        timeout=timeout,
        device_id=device if gpu else None,
        **rendezvous.arguments(timeout),
    )


def _end_with_launcher() -> None:
    """On Linux, have the system send SIGTERM to this process when its launcher dies."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, int(signal.SIGTERM))


@contextlib.contextmanager
def _heartbeat_running(timeout: float) -> Iterator[None]:
    """Run the heartbeat within a `with` block."""
    global _heartbeat
    if world_size() == 1:
        yield
        return
    # A new prefix, because after a restart the store still holds earlier reports.
    prefix = broadcast_object(f"dygait/{secrets.token_hex(8)}")
    store = dist.PrefixStore(prefix, rendezvous.connect(timedelta(seconds=_BACKSTOP)))
    _heartbeat = heartbeat = Heartbeat(store, rank(), world_size(), timeout)
    heartbeat.start()
    try:
        yield
    except LostProcessError:
        heartbeat.failed("")  # another process has failed
        raise
    except BaseException as error:
        heartbeat.failed(str(error) or type(error).__name__)
        raise
    finally:
        _heartbeat = None
        heartbeat.stop()


def collective(name: str) -> contextlib.AbstractContextManager[None]:
    """Name one or several collectives within a `with` block, for the message if a process does not reach them.

    The functions of this module do so themselves.
    """
    return contextlib.nullcontext() if _heartbeat is None else _heartbeat.collective(name)


def set_progress(progress: str) -> None:
    """Set the progress of this process, for the message of the others if it hangs."""
    if _heartbeat is not None:
        _heartbeat.set_progress(progress)


def on_hang(callback: Callable[[str], None]) -> None:
    """Call `callback` with the reason before this process ends because another one hangs."""
    if _heartbeat is not None:
        _heartbeat.on_hang = callback


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

    For functions whose first call writes something that later calls read, such as the index of a dataset.
    """
    if world_size() == 1:
        return work()
    result, failure = None, None
    if is_main():
        try:
            result = work()
        except UserError as error:
            failure = str(error)
    failure = broadcast_object(failure)
    if failure is not None:
        raise UserError(failure)
    if is_main():
        return result  # type: ignore[return-value]
    try:
        return work()
    except UserError as error:  # it failed on this process only: a folder that only the machine of rank 0 sees
        raise LocalError(f"process {rank()}: {error}") from None


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
    failure = None
    if int(os.environ.get("LOCAL_RANK", rank())) == 0:
        try:
            work()
        except UserError as error:
            failure = str(error)
    failed = [f for f in all_gather_object(failure) if f is not None]
    if failed:
        raise UserError(failed[0])


class _GatherWithGradient(torch.autograd.Function):
    """Concatenate every process's rows; backward hands each process the gradient of its own rows, with no traffic."""

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

    Every process must compute the same loss of the whole: then its gradient with respect to a process's own rows is
    already complete, and nothing needs to be summed. DistributedDataParallel averages parameter gradients over the
    processes, so a loss of gathered rows must be multiplied by `world_size()` to give the gradient of one process that
    saw the whole batch; `losses.LossAggregator` does.
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
    """Add up every process's tensor, of equal shape, without gradient."""
    if world_size() == 1:
        return tensor
    result = tensor.detach().clone(memory_format=torch.contiguous_format)
    with collective("a sum over the processes"):
        dist.all_reduce(result)
    return result


def data_parallel(
    network: nn.Module, device: torch.device, find_unused: bool = False, compression: str | None = None
) -> DistributedDataParallel:
    """Wrap a network so that a backward pass averages its gradients over the processes.

    Buffers are not kept equal during training, which reads none of them but running statistics that it does not use;
    `broadcast_tensors` makes them equal where they matter.

    Args:
        network: with at least one parameter that wants a gradient.
        device: this process's.
        find_unused: look in every step for parameters without a gradient.
        compression: `float16` or `bfloat16`: exchange gradients in this type.

    Raises:
        UserError: the backend does not exchange numbers of that type.
    """
    for parameter in network.parameters():
        if parameter.requires_grad and 1 in parameter.shape:
            parameter.register_hook(_as_stored)
    model = DistributedDataParallel(
        network,
        device_ids=[device] if device.type == "cuda" else None,
        find_unused_parameters=find_unused,
        gradient_as_bucket_view=True,
        **{_SYNC_BUFFERS: False},  # type: ignore[arg-type]
    )
    if compression is not None:
        hook, dtype = _COMPRESSION[compression]
        try:
            dist.all_reduce(torch.ones(1, dtype=dtype, device=device))
            model.register_comm_hook(None, hook)
        except (RuntimeError, TypeError) as error:
            raise UserError(
                f"trainer_cfg.gradient_compression: {dist.get_backend()} does not exchange {compression} "
                f"({str(error).splitlines()[0]}); use float16, or leave the key out"
            ) from None
    return model


def _as_stored(gradient: torch.Tensor) -> torch.Tensor:
    """Return a gradient laid out in memory as its weight is, copied only where the two really differ.

    Where maps have channels last, the gradient of a convolution's weight has strides of its own in dimensions of one
    too. They mean nothing, but DistributedDataParallel warns of them.
    """
    return gradient.flatten().view(gradient.shape)


def mean_over_processes(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """Average named numbers over the processes; every process must bring the same names."""
    if world_size() == 1:
        return values
    packed = torch.tensor([values[name] for name in sorted(values)], dtype=torch.float64, device=device)
    with collective("the mean of what is logged"):
        dist.all_reduce(packed)
    return dict(zip(sorted(values), (packed / world_size()).tolist(), strict=True))
