"""The optimiser Muon for weight matrices, with AdamW for all other weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from dygait.modeling.layers import at_least_float32

# The quintic of Newton-Schulz iterations whose slope at zero is largest (Jordan et al., 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices (..., M, N) with their singular vectors, and singular values that are near 1.

    Five Newton-Schulz iterations bring singular values above 0.002 of the Frobenius norm to between 0.68 and 1.21; zero
    stays zero. They are polynomials of the Gram matrix of the smaller side, so that they are computed on it.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = at_least_float32(matrices.mT if tall else matrices)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    total = identity
    for _ in range(_STEPS):
        factor = a * identity + b * gram + c * (gram @ gram)
        total, gram = factor @ total, factor @ gram @ factor
    x = total @ x
    return (x.mT if tall else x).to(matrices.dtype)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for weights of two or more dimensions, AdamW for vectors and for groups with `muon: False`.

    The step of a matrix is its momentum (Nesterov's) with all singular values near 1, which lets rare directions count
    as much as frequent ones: K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024. Its root
    mean square is a fixed part of the learning rate, so that matrices share learning rate and weight decay with AdamW:
    J. Liu et al., Muon is scalable for LLM training, 2025. The kernels of a convolution are one matrix with a row for
    each output channel; weights (P, M, N) of P parts are P matrices.

    Args:
        params: parameters, or groups of them. A group with `muon: False`, such as a class head, takes AdamW's steps.
        lr: the learning rate, above 0.
        momentum: of matrices, 0 to below 1.
        scale: root mean square of a matrix's step, in learning rates; AdamW's is 0.2 to 0.4.
        betas: of the means of AdamW, each 0 to below 1.
        eps: added to the denominator of AdamW.
        weight_decay: decoupled, as AdamW's: weights are multiplied by 1 - lr * weight_decay.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.95,
        scale: float = 0.2,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        for name, value in (("momentum", momentum), ("betas", betas[0]), ("betas", betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {value}")
        if min(lr, scale, eps) <= 0 or weight_decay < 0:
            raise ValueError("lr, scale and eps must be above 0, weight_decay at least 0")
        defaults = {"lr": lr, "momentum": momentum, "scale": scale, "betas": betas, "eps": eps}
        super().__init__(params, {**defaults, "weight_decay": weight_decay, "muon": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; `closure` computes the loss again, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update = self._muon if group["muon"] and parameter.ndim >= 2 else self._adamw
                    update(parameter, parameter.grad, self.state[parameter], group)
        return loss

    @staticmethod
    def _muon(parameter: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        step = gradient.add(momentum, alpha=group["momentum"])
        matrices = step if step.ndim == 3 else step.flatten(1)
        scale = group["scale"] * max(matrices.shape[-2:]) ** 0.5
        parameter.add_(orthogonalize(matrices).view_as(parameter), alpha=-group["lr"] * scale)

    @staticmethod
    def _adamw(parameter: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(parameter), exp_avg_sq=torch.zeros_like(parameter))
        state["step"] += 1
        first, second = group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        denominator = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean, denominator, value=-group["lr"] / (1 - first ** state["step"]))
