"""Process group, device and collectives: CUDA with NCCL if there is a GPU for every process, else the CPU with Gloo.

Every function works in a single process without a process group.
"""

from dygait.distributed.collectives import (
    all_gather_object,
    barrier,
    broadcast_object,
    broadcast_tensors,
    gather,
    gather_with_gradient,
    main_first,
    mean_over_processes,
    on_main,
    once_per_machine,
    sum_over_processes,
)
from dygait.distributed.ddp import data_parallel
from dygait.distributed.group import choose_device, is_main, local_processes, process_group, rank, world_size
from dygait.distributed.heartbeat import collective, on_hang, set_progress
