"""The workaround for stores that outlive a restart; `tests/faults/test_ranks.py` tests it under `torchrun`."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
import torch.distributed as dist

from dygait.distributed import rendezvous

TIMEOUT = timedelta(seconds=20)


def test_processes_agree_on_a_new_token_despite_old_entries() -> None:
    store = dist.HashStore()
    previous = set()
    for world in (3, 2, 4):
        for rank in range(1, 4):
            store.set(f"dygait/asks/{rank}", "of a dead process")
        with ThreadPoolExecutor(world) as pool:
            # Rank 0 comes last, so that the others have to ask again.
            agree = partial(rendezvous.agree, store, world=world, timeout=TIMEOUT)
            tokens = list(pool.map(agree, reversed(range(world))))
        assert len(set(tokens)) == 1
        assert tokens[0] not in previous
        previous.add(tokens[0])


def test_no_answer() -> None:
    with pytest.raises(dist.DistError, match="process 0"):
        rendezvous.agree(dist.HashStore(), 1, 2, timedelta(seconds=0.1))
