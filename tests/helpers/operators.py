"""Compare every operator of a computation with the same operator on a CPU in float64, and name one that differs."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 4e-2}
"""The largest error relative to the largest input or output, for the least precise dtype among them.

A CPU that sums the gradient of a convolution in float16 has an error of 6e-3; a wrong operator has a far larger one."""

_WITHOUT_NUMBERS = ("empty", "new_empty", "rand", "_local_scalar_dense", "detach", "lift_fresh", "resize_", "set_")
_BY_TYPE = ("_fused", "_amp")
"""Optimisers and the loss scaler, which accept some arguments in float32 only."""
_CONVERSIONS = ("_to_copy",)
_GPU_ONLY = ("cudnn_", "miopen_")
"""Operators that a CPU does not have; the network's results are compared instead."""


class OperatorError(AssertionError):
    """The results of an operator differ between the device and a CPU."""


class OperatorCheck(TorchDispatchMode):
    """Compare every operator within a `with` block with the same on a CPU, given the same inputs in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.compared: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name.startswith((*_WITHOUT_NUMBERS, *_GPU_ONLY)) or _is_view(func):
            return func(*args, **kwargs)
        in_float64 = not name.startswith((*_BY_TYPE, *_CONVERSIONS))
        on_cpu = tree_map(lambda leaf: _on_cpu(leaf, in_float64), (args, kwargs))
        magnitudes = [1.0, *(_largest(leaf) for leaf in tree_leaves(on_cpu) if isinstance(leaf, torch.Tensor))]
        dtypes = [leaf.dtype for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        result = func(*args, **kwargs)
        try:
            reference = func(*on_cpu[0], **on_cpu[1])
        except (NotImplementedError, RuntimeError) as error:
            raise OperatorError(f"{func} cannot be compared with a CPU's: {error}") from None
        self.compared.add(name)
        results, references = [result], [reference]
        if func._schema.is_mutable:
            results, references = [result, args, kwargs], [reference, *on_cpu]
        pairs = zip(tree_leaves(results), tree_leaves(references), strict=True)
        for actual, expected in ((a, b) for a, b in pairs if isinstance(a, torch.Tensor)):
            _compare(func, actual, expected, magnitudes, [*dtypes, actual.dtype])
        return result


def _is_view(func: Any) -> bool:
    """Return whether an operator returns views of its inputs, and computes nothing."""
    returns = [result.alias_info for result in func._schema.returns]
    return bool(returns) and all(alias is not None and not alias.is_write for alias in returns)


def _on_cpu(leaf: Any, in_float64: bool) -> Any:
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    if isinstance(leaf, torch.dtype):
        return torch.float64 if in_float64 and leaf.is_floating_point else leaf
    if not isinstance(leaf, torch.Tensor):
        return leaf
    dtype = torch.float64 if in_float64 and leaf.is_floating_point() else leaf.dtype
    return leaf.detach().to("cpu", dtype, copy=True)


def _largest(tensor: torch.Tensor) -> float:
    if not tensor.is_floating_point():
        return 0.0
    finite = tensor[torch.isfinite(tensor)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _compare(
    func: Any, actual: torch.Tensor, expected: torch.Tensor, magnitudes: list[float], dtypes: list[torch.dtype]
) -> None:
    description = f"{func}, result {tuple(actual.shape)} {actual.dtype} on {actual.device}"
    actual, expected = actual.detach().cpu(), expected.detach()
    if actual.dtype == torch.bool:
        if not torch.equal(actual, expected):
            differing = int((actual != expected).sum())
            raise OperatorError(f"{description}: {differing} of {actual.numel()} differ from a CPU's")
        return
    if not actual.is_floating_point():  # indices, whose order among equal values is arbitrary
        return
    actual, expected = actual.double(), expected.double()
    if not torch.equal(torch.isfinite(actual), torch.isfinite(expected)):
        raise OperatorError(f"{description}: not finite in other places than a CPU's")
    allowed = max(TOLERANCES[dtype] for dtype in dtypes if dtype in TOLERANCES)
    difference = (actual - expected).nan_to_num(0.0, 0.0, 0.0).abs().max() if actual.numel() else torch.zeros(())
    error = float(difference) / max(*magnitudes, _largest(expected))
    if error > allowed:
        raise OperatorError(f"{description}: {error:.1e} from a CPU's in float64, {allowed:.0e} is allowed")
