"""How the processes of `torchrun` meet: a workaround for a bug of PyTorch.

`init_process_group` takes the launcher's store as it is, "as we create a new one for every retry"
(`torch/distributed/rendezvous.py`, `_create_c10d_store`, in 2.13 and 2.14). There is not, with a static rendezvous or
with the store that a c10d rendezvous shares: after a restart Gloo finds the addresses of the dead in it, and fails. So
the processes agree upon a prefix that nobody has used before. (TORCHELASTIC_RESTART_COUNT is none: it stays where
machines leave or join.)
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist

_SECONDS = 0.05
"""Between two looks for an answer."""


def connect(patience: timedelta) -> dist.TCPStore:
    """Return a connection of one's own to the store that launcher or rank 0 keeps."""
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=patience)


def arguments(patience: timedelta) -> dict[str, Any]:
    """Return what `init_process_group` is to be given besides; nothing where the environment alone will do.

    Raises:
        torch.distributed.DistError: not all processes come.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ["WORLD_SIZE"] == "1":
        return {}
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    name = agree(connect(patience), rank, world, patience)
    return {"store": dist.PrefixStore(name, connect(patience)), "rank": rank, "world_size": world}


def agree(store: dist.Store, rank: int, world: int, patience: timedelta) -> str:
    """Agree upon a name that nobody has used before, in a store that may be full of what earlier processes wrote.

    Each process asks with a word of its own, again and again, until rank 0 has answered just that. What the dead have
    asked rank 0 deletes before it listens.
    """
    own = secrets.token_hex(8)
    if rank == 0:
        for other in range(1, world):
            store.delete_key(f"dygait/asks/{other}")
        for other in range(1, world):
            store.set(f"dygait/answer/{store.get(f'dygait/asks/{other}').decode()}", own)
        return f"dygait/{own}"
    limit = time.monotonic() + patience.total_seconds()
    while not store.check([f"dygait/answer/{own}"]):
        if time.monotonic() > limit:
            raise dist.DistStoreError("process 0 does not answer")
        store.set(f"dygait/asks/{rank}", own)
        time.sleep(_SECONDS)
    return f"dygait/{store.get(f'dygait/answer/{own}').decode()}"
