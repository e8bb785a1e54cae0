"""Agreement on an unused prefix of the launcher's store: a workaround for a bug of PyTorch.

`init_process_group` uses the launcher's store without a prefix, "as we create a new one for every retry"
(`torch/distributed/rendezvous.py`, `_create_c10d_store`, in 2.13 and 2.14). But there is no new one with a static
rendezvous, nor with the shared store of a c10d rendezvous: after a restart Gloo finds the addresses of dead processes
in it, and fails. TORCHELASTIC_RESTART_COUNT does not help: it does not change when machines leave or join.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta

import torch.distributed as dist

_POLL_INTERVAL = 0.05
"""Seconds between polls for the answer of rank 0."""


def meet(timeout: timedelta) -> tuple[dist.Store, dist.Store]:
    """Connect to the store of the launcher or, without one, of rank 0; return stores for the group and the heartbeat.

    Both are empty at first, shared by all ranks, and have a connection of their own.

    Raises:
        torch.distributed.DistError: not all processes connect.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    is_master = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=is_master, timeout=timeout)
    prefix = agree(store, rank, world, timeout)
    heartbeat_store = dist.TCPStore(address, port, is_master=False, timeout=timeout)
    return dist.PrefixStore(f"{prefix}/group", store), dist.PrefixStore(f"{prefix}/heartbeat", heartbeat_store)


def agree(store: dist.Store, rank: int, world: int, timeout: timedelta) -> str:
    """Agree on an unused prefix in a store that may hold keys of earlier processes.

    Each process repeatedly writes a random token, until rank 0 has answered it with the prefix. Rank 0 first deletes
    the tokens of dead processes.
    """
    token = secrets.token_hex(8)
    if rank == 0:
        for other in range(1, world):
            store.delete_key(f"dygait/asks/{other}")
        for other in range(1, world):
            store.set(f"dygait/answer/{store.get(f'dygait/asks/{other}').decode()}", token)
        return f"dygait/{token}"
    limit = time.monotonic() + timeout.total_seconds()
    while not store.check([f"dygait/answer/{token}"]):
        if time.monotonic() > limit:
            raise dist.DistStoreError("process 0 does not answer")
        store.set(f"dygait/asks/{rank}", token)
        time.sleep(_POLL_INTERVAL)
    return f"dygait/{store.get(f'dygait/answer/{token}').decode()}"
