"""Agreement on an unused part of the launcher's store: a workaround for a bug of PyTorch.

`init_process_group` uses the launcher's store as it is, "as we create a new one for every retry"
(`torch/distributed/rendezvous.py`, `_create_c10d_store`, in 2.13 and 2.14). There is no new one with a static
rendezvous, nor with the store that a c10d rendezvous shares: after a restart Gloo finds the addresses of dead processes
in it, and fails. TORCHELASTIC_RESTART_COUNT does not help: it stays the same where machines leave or join.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta

import torch.distributed as dist

_SECONDS = 0.05
"""The interval at which a process looks for the answer of rank 0."""


def meet(timeout: timedelta) -> tuple[dist.Store, dist.Store]:
    """Return two connections to the store of the launcher or, without one, of rank 0: empty, and the same on all ranks.

    Raises:
        torch.distributed.DistError: not all processes come.
    """
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    keeps_store = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=keeps_store, timeout=timeout)
    prefix = agree(store, rank, world, timeout)
    other = dist.TCPStore(address, port, is_master=False, timeout=timeout)
    return dist.PrefixStore(f"{prefix}/group", store), dist.PrefixStore(f"{prefix}/heartbeat", other)


def agree(store: dist.Store, rank: int, world: int, timeout: timedelta) -> str:
    """Agree on an unused prefix in a store that may hold keys of earlier processes.

    Each process asks with a token of its own, again and again, until rank 0 has answered exactly that. Rank 0 deletes
    the tokens of dead processes before it listens.
    """
    own = secrets.token_hex(8)
    if rank == 0:
        for other in range(1, world):
            store.delete_key(f"dygait/asks/{other}")
        for other in range(1, world):
            store.set(f"dygait/answer/{store.get(f'dygait/asks/{other}').decode()}", own)
        return f"dygait/{own}"
    limit = time.monotonic() + timeout.total_seconds()
    while not store.check([f"dygait/answer/{own}"]):
        if time.monotonic() > limit:
            raise dist.DistStoreError("process 0 does not answer")
        store.set(f"dygait/asks/{rank}", own)
        time.sleep(_SECONDS)
    return f"dygait/{store.get(f'dygait/answer/{own}').decode()}"
