"""The process group, and the rank and the device of this process."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from dygait import machine
from dygait.distributed import heartbeat, rendezvous
from dygait.errors import UserError

_BACKSTOP = 60.0
"""Seconds by which the timeout of the backend, which names no process, exceeds that of the heartbeat."""
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


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
        timeout: seconds that a collective may wait for the slowest process, before the run ends with a message that
            names the missing processes.

    Raises:
        UserError: not all processes join.
    """
    local = int(os.environ.get("LOCAL_RANK", local_rank or 0))
    device = choose_device(local, local_processes())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        # Launchers set OMP_NUM_THREADS=1, which would leave cores idle; without it, every process would use all cores.
        torch.set_num_threads(max(1, machine.available_cores() // local_processes()))
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield device
        return
    _end_with_launcher()
    try:
        store = _join(device, timedelta(seconds=timeout + _BACKSTOP))
    except dist.DistError as error:
        raise UserError(
            f"not all of {os.environ['WORLD_SIZE']} processes have met at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')}: {str(error).splitlines()[0]}"
        ) from None
    try:
        with heartbeat.running(store, rank(), world_size(), timeout):
            yield device
    except BaseException as error:
        _clear_frames(error)
        raise
    finally:
        gc.collect()  # objects in reference cycles, such as the network, keep the group too: see `_clear_frames`
        dist.destroy_process_group()


def _join(device: torch.device, timeout: timedelta) -> dist.Store:
    """Initialise the process group, and return a store for the heartbeat."""
    store, heartbeat_store = rendezvous.meet(timeout)
    dist.init_process_group(
        backend="nccl" if device.type == "cuda" else "gloo",
        timeout=timeout,
        store=store,
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        device_id=device if device.type == "cuda" else None,
    )
    return heartbeat_store


def _end_with_launcher() -> None:
    """On Linux, let the kernel send SIGTERM to this process when its launcher dies."""
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, int(signal.SIGTERM))


def _clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of the frames of an exception, which may include the network.

    Otherwise DistributedDataParallel holds the last reference to the process group, and the group is destroyed with the
    GIL held: a deadlock, as it joins its threads, one of which waits for the GIL.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__
