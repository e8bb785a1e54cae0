"""Detect synchronisations without a GPU: a mode that fails for every operation for which the host waits for a device.

The device `meta` stands in for a GPU: its tensors have no values that could be read.
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
"""Operators whose result, or the size of it, has to be known on the host."""
_COPIES = {"_to_copy", "copy_", "copy"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_WITHOUT_META = {"_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_", "_fused_adamw_"}
"""Operators that only modify their arguments, and that not every version of PyTorch implements for `meta`."""


class SynchronisationError(AssertionError):
    """An operation synchronises with the device, or mixes tensors of host and device."""


class _NoSynchronisation(TorchDispatchMode):
    """Fail at every operation for which the host would wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        name = func.overloadpacket.__name__
        on_meta = any(tensor.device.type == "meta" for tensor in tensors)
        if on_meta:
            self._check(name, func, args, tensors)
        if name in _COPIES:
            self._check_copy(name, func, args, kwargs)
        if on_meta and name in _WITHOUT_META:
            return args[0] if func._schema.returns else None
        return func(*args, **kwargs)

    def _check(self, name: str, func: Any, args: Any, tensors: list[torch.Tensor]) -> None:
        if name in _READS:
            raise SynchronisationError(f"{func} reads a tensor of the device")
        masks = (torch.bool, torch.uint8)
        if name in _INDEXING and any(i is not None and i.dtype in masks for i in args[1]):
            raise SynchronisationError(f"{func} has to count a mask of the device")
        # A tensor of the host without dimensions is passed to the operation as a number.
        devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        if len(devices) > 1 and name not in _COPIES:
            raise SynchronisationError(f"{func} mixes tensors of {devices}")

    def _check_copy(self, name: str, func: Any, args: Any, kwargs: Any) -> None:
        to = args[0].device if name != "_to_copy" else kwargs.get("device") or args[0].device
        source = args[0] if name == "_to_copy" else args[1]
        waits = not (kwargs.get("non_blocking") or (name != "_to_copy" and args[2:3] == (True,)))
        if source.device.type == "meta" and to.type != "meta":
            raise SynchronisationError(f"{func} brings a tensor of the device to the host")
        if source.device.type != "meta" and to.type == "meta" and source.dim() and waits:
            raise SynchronisationError(f"{func} brings a tensor to the device without non_blocking")


class _NoTensorFromHost(TorchFunctionMode):
    """Fail where a tensor on the device is made of numbers of the host, which waits for the copy."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.Tensor.new_tensor) and result.device.type == "meta":
            raise SynchronisationError(f"{func.__name__} makes a tensor on the device of numbers of the host")
        return result


@contextlib.contextmanager
def no_synchronisation() -> Iterator[None]:
    """Within a `with` block, fail at every operation for which the host would wait for the device."""
    with _NoSynchronisation(), _NoTensorFromHost():
        yield


@contextlib.contextmanager
def meta_as_gpu() -> Iterator[None]:
    """Within a `with` block, make autocast and the fused optimisers support `meta`."""

    def as_cpu(function: Any) -> Any:
        return lambda device_type, *arguments, **keywords: function(
            "cpu" if device_type == "meta" else device_type, *arguments, **keywords
        )

    with contextlib.ExitStack() as stack:
        # For checkpointing in PyTorch 2.4.
        stack.enter_context(mock.patch.object(torch, "meta", torch.cpu, create=True))
        for name in ("autocast", "is_autocast_enabled", "get_autocast_dtype"):
            stack.enter_context(mock.patch.object(torch, name, as_cpu(getattr(torch, name))))
        name = "_get_fused_kernels_supported_devices"
        for module in (sys.modules[f"torch.optim.{module_name}"] for module_name in ("adam", "adamw", "optimizer")):
            if hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, return_value=["cpu", "cuda", "meta"]))
        yield
