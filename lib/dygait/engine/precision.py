"""Half precision by device."""

from __future__ import annotations

import torch


def half_precision(device: torch.device, enabled: bool) -> torch.autocast:
    """Return autocast: float16 on CUDA, where a loss scaler guards its range, and bfloat16 on a CPU."""
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)
