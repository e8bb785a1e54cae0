"""Convolutions by strips and temporal aggregation, one output value at a time."""

import math
from itertools import product

import torch


def convolve_by_strips(x: torch.Tensor, weight: torch.Tensor, strips: int) -> torch.Tensor:
    """Convolve (C, S, H, W) by (C_out, C, kS, kH, kW), with zeros outside the map and the strip of an output."""
    _, frames, height, width = x.shape
    out_channels, _, *kernel = weight.shape
    rows = height // strips
    out = torch.zeros(out_channels, frames, height, width, dtype=x.dtype)
    for s, h, w in product(range(frames), range(height), range(width)):
        for ds, dh, dw in product(*map(range, kernel)):
            t, i, j = s + ds - kernel[0] // 2, h + dh - kernel[1] // 2, w + dw - kernel[2] // 2
            if 0 <= t < frames and 0 <= j < width and 0 <= i < height and i // rows == h // rows:
                out[:, s, h, w] += weight[:, :, ds, dh, dw] @ x[:, t, i, j]
    return out


def convolve_frames(walk: list[list[float]], weight: torch.Tensor) -> list[list[float]]:
    """Convolve a walk, a list of S frames of C_in values, by (C_out, C_in, k); frames beyond either end are zeros."""
    out_channels, in_channels, kernel = weight.shape
    out = []
    for s in range(len(walk)):
        values = []
        for o in range(out_channels):
            total = 0.0
            for k in range(kernel):
                t = s + k - kernel // 2
                if 0 <= t < len(walk):
                    total += sum(float(weight[o, c, k]) * walk[t][c] for c in range(in_channels))
            values.append(total)
        out.append(values)
    return out


def micro_motion(
    walk: list[list[float]], squeeze: torch.Tensor, excite: torch.Tensor, window: int
) -> list[list[float]]:
    """Return the micro-motion template of a part: S frames of C values to S frames of C values."""
    hidden = [[v if v > 0 else 0.01 * v for v in frame] for frame in convolve_frames(walk, squeeze)]
    logits = convolve_frames(hidden, excite)
    out = []
    for s, frame in enumerate(walk):
        neighbours = [walk[t] for t in range(s - window // 2, s + window // 2 + 1) if 0 <= t < len(walk)]
        values = []
        for c in range(len(frame)):
            template = sum(f[c] for f in neighbours) / window + max(f[c] for f in neighbours)
            values.append(template / (1 + math.exp(-logits[s][c])))
        out.append(values)
    return out
