"""The workaround for stores that outlive a restart; `tests/faults/test_ranks.py` tries it under `torchrun`."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
import torch.distributed as dist

from dygait.distributed import rendezvous

PATIENCE = timedelta(seconds=20)


def test_all_agree_upon_a_new_name_whatever_the_dead_have_left() -> None:
    store = dist.HashStore()
    seen = set()
    for world in (3, 2, 4):
        for rank in range(1, 4):
            store.set(f"dygait/asks/{rank}", "a dead process's word")
        with ThreadPoolExecutor(world) as pool:
            # Rank 0 comes last: the others have to ask again.
            names = list(
                pool.map(partial(rendezvous.agree, store, world=world, timeout=PATIENCE), reversed(range(world)))
            )
        assert len(set(names)) == 1
        assert names[0] not in seen
        seen.add(names[0])


def test_nobody_answers() -> None:
    with pytest.raises(dist.DistError, match="process 0"):
        rendezvous.agree(dist.HashStore(), 1, 2, timedelta(seconds=0.1))
