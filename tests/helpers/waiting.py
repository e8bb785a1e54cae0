"""What finds a host that waits for a device, where there is no device: a mode in which every such operation fails.

The device `meta` stands in for a GPU: its tensors have no numbers that could be read.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_READS = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "nonzero_numpy", "argwhere",
    "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave",
}  # fmt: skip
"""Operators whose result, or its size, the host has to know."""
_COPIES = {"_to_copy", "copy_", "copy"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_WITHOUT_META = {"_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_", "_fused_adamw_"}
"""Change their arguments alone; not every version of PyTorch has them without numbers."""


class WaitedError(AssertionError):
    """The host has waited for the device, or mixed its tensors with its own."""


class _NoWaiting(TorchDispatchMode):
    """Fails at every operation for which the host would wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        name = func.overloadpacket.__name__
        on_meta = any(tensor.device.type == "meta" for tensor in given)
        if on_meta:
            self._check(name, func, args, given)
        if name in _COPIES:
            self._check_copy(name, func, args, kwargs)
        if on_meta and name in _WITHOUT_META:
            return args[0] if func._schema.returns else None
        return func(*args, **kwargs)

    def _check(self, name: str, func: Any, args: Any, given: list[torch.Tensor]) -> None:
        if name in _READS:
            raise WaitedError(f"{func} reads a tensor of the device")
        masks = (torch.bool, torch.uint8)
        if name in _INDEXING and any(i is not None and i.dtype in masks for i in args[1]):
            raise WaitedError(f"{func} has to count a mask of the device")
        # A host's tensor without dimensions is a number, and goes along with the operation.
        both = {tensor.device.type for tensor in given if tensor.dim()}
        if len(both) > 1 and name not in _COPIES:
            raise WaitedError(f"{func} mixes tensors of {both}")

    def _check_copy(self, name: str, func: Any, args: Any, kwargs: Any) -> None:
        to = args[0].device if name != "_to_copy" else kwargs.get("device") or args[0].device
        source = args[0] if name == "_to_copy" else args[1]
        waits = not (kwargs.get("non_blocking") or (name != "_to_copy" and args[2:3] == (True,)))
        if source.device.type == "meta" and to.type != "meta":
            raise WaitedError(f"{func} brings a tensor of the device to the host")
        if source.device.type != "meta" and to.type == "meta" and source.dim() and waits:
            raise WaitedError(f"{func} brings a tensor to the device without non_blocking")


class _NothingMade(TorchFunctionMode):
    """Fails where numbers of the host are made a tensor of the device at once, which waits for the copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.Tensor.new_tensor) and made.device.type == "meta":
            raise WaitedError(f"{func.__name__} makes a tensor on the device of numbers of the host")
        return made


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Fail at everything within a `with` block for which the host would wait."""
    with _NoWaiting(), _NothingMade():
        yield


@contextlib.contextmanager
def meta_as_a_gpu() -> Iterator[None]:
    """Within a `with` block, let autocast and the fused optimisers take `meta` for a device like any other."""

    def as_cpu(function: Any) -> Any:
        return lambda kind, *more, **named: function("cpu" if kind == "meta" else kind, *more, **named)

    with contextlib.ExitStack() as stack:
        stack.enter_context(
            mock.patch.object(torch, "meta", torch.cpu, create=True)
        )  # for checkpointing in PyTorch 2.4
        for name in ("autocast", "is_autocast_enabled", "get_autocast_dtype"):
            stack.enter_context(mock.patch.object(torch, name, as_cpu(getattr(torch, name))))
        name = "_get_fused_kernels_supported_devices"
        for module in (sys.modules[f"torch.optim.{where}"] for where in ("adam", "adamw", "optimizer")):
            if hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, return_value=["cpu", "cuda", "meta"]))
        yield
