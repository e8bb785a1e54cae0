"""Running a function of a test module in several processes that form a group."""

import gc
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def _work(
    rank: int, function: Callable[..., Any], world: int, folder: str, arguments: tuple[Any, ...], backend: str
) -> None:
    gc.freeze()  # in a fork garbage collection would copy all pages shared with the parent
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # no look-up of names, which needs a network
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    try:
        torch.save(function(*arguments), f"{folder}/{rank}.pt")
        dist.barrier()  # no process leaves while another communicates with it
    finally:
        dist.destroy_process_group()


def in_processes(
    function: Callable[..., Any], world: int, folder: Path, *arguments: Any, backend: str = "gloo"
) -> list[Any]:
    """Return what `function(*arguments)` returns in each of `world` processes, in rank order.

    `folder` is empty, for the rendezvous and the results. `nccl` needs a GPU for each process, and a function and
    arguments that can be pickled: CUDA does not work in forks, which start faster.
    """
    start = "fork" if backend == "gloo" else "spawn"
    arguments = (function, world, str(folder), arguments, backend)
    torch.multiprocessing.start_processes(_work, arguments, world, start_method=start)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]
