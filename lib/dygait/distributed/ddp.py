"""DistributedDataParallel with the options of training."""

from __future__ import annotations

import inspect

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook, fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from dygait.errors import UserError

_COMPRESSION = {"float16": (fp16_compress_hook, torch.float16), "bfloat16": (bf16_compress_hook, torch.bfloat16)}
# Newer versions of PyTorch have renamed the argument.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


def data_parallel(
    network: nn.Module, device: torch.device, find_unused: bool = False, compression: str | None = None
) -> DistributedDataParallel:
    """Wrap a network in DistributedDataParallel.

    Buffers are not synchronised during training, in which running statistics are not used; `broadcast_tensors`
    synchronises them before a checkpoint.

    Args:
        network: has at least one parameter that requires a gradient.
        find_unused: whether to search for parameters without a gradient in every step.
        compression: `float16` or `bfloat16`, to all-reduce gradients in this type.

    Raises:
        UserError: the backend does not support this type.
    """
    for parameter in network.parameters():
        if parameter.requires_grad and 1 in parameter.shape:
            parameter.register_hook(_contiguous)
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


def _contiguous(gradient: torch.Tensor) -> torch.Tensor:
    """Return a gradient with contiguous strides, copied only if the memory layout differs.

    With channels-last maps, the gradient of a convolution's weight has other strides in dimensions of size one. They
    have no effect, but DistributedDataParallel warns about them.
    """
    return gradient.flatten().view(gradient.shape)
