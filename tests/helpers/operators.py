"""Every operator that a computation runs, against the same operator on a CPU in float64: a failure names it."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 4e-2}
"""Largest error, relative to the largest number that goes in or comes out; by the coarsest type of these.

A CPU that adds up a convolution's gradient in float16 is 6e-3 off; an operator that is wrong is off by a large part."""

_WITHOUT_NUMBERS = ("empty", "new_empty", "rand", "_local_scalar_dense", "detach", "lift_fresh", "resize_", "set_")
_BY_TYPE = ("_fused", "_amp")
"""Optimisers and the loss scaler take some of their arguments in float32 only."""
_OF_A_GPU_ALONE = ("cudnn_", "miopen_")
"""A CPU has no such operator: what it gives is compared with what the network gives."""


class OperatorError(AssertionError):
    """An operator gives something else on the device than on a CPU."""


class OperatorCheck(TorchDispatchMode):
    """Compares every operator within a `with` block with itself on a CPU, given the same numbers in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name.startswith((*_WITHOUT_NUMBERS, *_OF_A_GPU_ALONE)) or _is_view(func):
            return func(*args, **kwargs)
        exactly = not name.startswith(_BY_TYPE)
        there = tree_map(lambda leaf: _on_cpu(leaf, exactly), (args, kwargs))
        numbers = [1.0, *(_largest(leaf) for leaf in tree_leaves(there) if isinstance(leaf, torch.Tensor))]
        types_given = [leaf.dtype for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        made = func(*args, **kwargs)
        try:
            expected = func(*there[0], **there[1])
        except (NotImplementedError, RuntimeError) as error:
            raise OperatorError(f"{func} cannot be compared with a CPU's: {error}") from None
        self.compared.add(name)
        found, wanted = [made], [expected]
        if func._schema.is_mutable:
            found, wanted = [made, args, kwargs], [expected, *there]
        pairs = zip(tree_leaves(found), tree_leaves(wanted), strict=True)
        for own, other in ((a, b) for a, b in pairs if isinstance(a, torch.Tensor)):
            _compare(func, own, other, numbers, [*types_given, own.dtype])
        return made


def _is_view(func: Any) -> bool:
    """Return whether an operator gives other sights of what it is given, and computes nothing."""
    returns = [result.alias_info for result in func._schema.returns]
    return bool(returns) and all(alias is not None and not alias.is_write for alias in returns)


def _on_cpu(leaf: Any, exactly: bool) -> Any:
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    if not isinstance(leaf, torch.Tensor):
        return leaf
    kind = torch.float64 if exactly and leaf.is_floating_point() else leaf.dtype
    return leaf.detach().to("cpu", kind, copy=True)


def _largest(tensor: torch.Tensor) -> float:
    if not tensor.is_floating_point():
        return 0.0
    finite = tensor[torch.isfinite(tensor)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _compare(func: Any, own: torch.Tensor, other: torch.Tensor, numbers: list[float], types: list[torch.dtype]) -> None:
    found, expected = own.detach().cpu(), other.detach()
    shapes = f"{func}, result {tuple(own.shape)} {own.dtype} on {own.device}"
    if found.dtype == torch.bool:
        if not torch.equal(found, expected):
            raise OperatorError(f"{shapes}: {int((found != expected).sum())} of {found.numel()} differ from a CPU's")
        return
    if not found.is_floating_point():  # indices: of equal numbers either may come first
        return
    found, expected = found.double(), expected.double()
    if not torch.equal(torch.isfinite(found), torch.isfinite(expected)):
        raise OperatorError(f"{shapes}: not finite in other places than a CPU's")
    allowed = max(TOLERANCES[kind] for kind in types if kind in TOLERANCES)
    difference = (found - expected).nan_to_num(0.0, 0.0, 0.0).abs().max() if found.numel() else torch.zeros(())
    error = float(difference) / max(*numbers, _largest(expected))
    if error > allowed:
        raise OperatorError(f"{shapes}: {error:.1e} from a CPU's in float64, {allowed:.0e} is allowed")
