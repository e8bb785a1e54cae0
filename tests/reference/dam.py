"""The Dynamic Augmentation Module by its formula, for one sequence in NumPy, with a loop over the taps of a kernel.

stage(x) = relu(Wg * x) + relu(Wd * (x - mean over frames of x) + Ws * x)
DAM(x) = stage2(stage1(x)) + shortcut(x)

Ablations: the mean is not subtracted; there is no Ws.
"""

from collections.abc import Mapping
from itertools import product

import numpy as np

Norms = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]  # mean, variance, weight, bias, each (C,)


def convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve (C, S, H, W) by (O, C, k, l, m), of odd sizes, with zeros outside and no bias, to (O, S, H, W)."""
    _, frames, height, width = x.shape
    out = np.zeros((kernel.shape[0], frames, height, width))
    back, up, left = (size // 2 for size in kernel.shape[2:])
    for a, b, c in product(*map(range, kernel.shape[2:])):
        for s, i, j in product(range(frames), range(height), range(width)):
            t, y, z = s + a - back, i + b - up, j + c - left
            if 0 <= t < frames and 0 <= y < height and 0 <= z < width:
                out[:, s, i, j] += kernel[:, :, a, b, c] @ x[:, t, y, z]
    return out


def normalise(x: np.ndarray, norm: tuple[np.ndarray, ...] | None) -> np.ndarray:
    """Apply BatchNorm in evaluation mode to (C, S, H, W)."""
    if norm is None:
        return x
    mean, variance, weight, bias = (v[:, None, None, None] for v in norm)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0)


def stage(x: np.ndarray, weights: Mapping[str, np.ndarray], norms: Norms, subtract: bool) -> np.ndarray:
    template = np.zeros_like(x[:, 0])
    for s in range(x.shape[1]):
        template += x[:, s] / x.shape[1]
    moving = np.stack([x[:, s] - template if subtract else x[:, s] for s in range(x.shape[1])], axis=1)
    global_map = convolution(x, weights["conv_global.weight"])
    local = convolution(moving, weights["conv_dynamic.weight"])
    if "conv_spatial.weight" in weights:
        local += convolution(x, weights["conv_spatial.weight"])
    return relu(normalise(global_map, norms.get("norm_global"))) + relu(normalise(local, norms.get("norm_local")))


def dam(x: np.ndarray, weights: Mapping[str, np.ndarray], subtract: bool = True) -> np.ndarray:
    """Map one sequence (C_in, S, H, W) to (C_out, S, H, W); weights have their names in the state dict."""
    y = x
    for name in ("stage1", "stage2"):
        of_stage = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        norms = {
            branch: tuple(of_stage[f"{branch}.norm.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
            for branch in ("norm_global", "norm_local")
            if f"{branch}.norm.weight" in of_stage
        }
        y = stage(y, of_stage, norms, subtract)
    return y + (convolution(x, weights["shortcut.weight"]) if "shortcut.weight" in weights else x)
