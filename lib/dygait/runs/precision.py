"""Half precision: its type on a device, and whether it is faster on this CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dygait import distributed
from dygait.config import Config
from dygait.config.schema import HalfPrecision
from dygait.logs import log

_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_WORTHWHILE = 1.2  # minimum speed relative to float32 that is worth the loss of precision
_SLOW = 0.5  # speed relative to float32 below which a small convolution tells enough
_REPEATS = 3


def half_type(device: torch.device, name: str | None = None) -> torch.dtype:
    """Return the type of half precision of a name or, by default, float16 on CUDA and bfloat16 on a CPU."""
    return _TYPES[name or ("float16" if device.type == "cuda" else "bfloat16")]


def half_precision(device: torch.device, enabled: HalfPrecision, type_name: str | None = None) -> torch.autocast:
    """Return an autocast context; training in float16 also needs a loss scaler."""
    dtype = half_type(device, type_name)
    return torch.autocast(
        device.type, dtype=dtype, enabled=_is_worthwhile(device, dtype) if enabled == "auto" else enabled
    )


def resolve_precision(config: Config, device: torch.device, previous: Mapping[str, Any] | None = None) -> Config:
    """Replace `enable_float16: auto` by true or false, the same on every process, and log the decision.

    `previous` is the configuration of the checkpoint from which the run resumes, and whose decision is kept.
    """
    sections = {}
    for name in ("trainer_cfg", "evaluator_cfg"):
        section = getattr(config, name)
        if section.enable_float16 != "auto":
            continue
        enabled = (previous or {}).get(name, {}).get("enable_float16", "auto")
        dtype = half_type(device, getattr(section, "half_type", None))
        use_half = distributed.broadcast_object(_is_worthwhile(device, dtype)) if enabled == "auto" else enabled
        sections[name] = section.model_copy(update={"enable_float16": use_half})
        reason = "as before" if enabled != "auto" else _reason(device, dtype)
        log.info("%s.enable_float16 is auto: %s (%s)", name, str(use_half).lower(), reason)
    return config.model_copy(update=sections)


def warn_if_slow(device: torch.device, enabled: bool, type_name: str | None, section: str) -> None:
    """Log a notice if half precision is enabled on a CPU where it is slower than float32."""
    if not enabled or device.type != "cpu":
        return
    dtype = half_type(device, type_name)
    if speed_on_cpu(dtype) < 1:
        log.info(
            "notice: half precision is slower here: %s; %s.enable_float16: auto, or false, computes in float32",
            _reason(device, dtype), section,
        )  # fmt: skip


def crashes(network: nn.Module, input_size: Sequence[int] | None, device: torch.device) -> bool:
    """Return whether training a network in bfloat16 would crash here.

    On CPUs with AMX, oneDNN's weight gradient of a 3-D convolution to 16 channels or fewer writes out of bounds for
    frames of 128 x 88, and not for those of 64 x 44 (PyTorch 2.14.1, channels last).
    """
    if device.type != "cpu" or input_size is None or input_size[0] * input_size[1] <= 64 * 44:
        return False
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()  # since PyTorch 2.5
    return has_amx and any(isinstance(m, nn.Conv3d) and m.out_channels <= 16 for m in network.modules())


def _is_worthwhile(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cuda" or speed_on_cpu(dtype) >= _WORTHWHILE


def _reason(device: torch.device, dtype: torch.dtype) -> str:
    if device.type == "cuda":
        return "a GPU computes faster in it"
    name = str(dtype).removeprefix("torch.")
    return f"a convolution in {name} is {speed_on_cpu(dtype):.2f} times as fast as in float32"


@lru_cache
def speed_on_cpu(dtype: torch.dtype) -> float:
    """Measure the speed of a 3-D convolution, forward and backward, in a type, relative to float32.

    This takes some tenths of a second, once per process. Compared are processor times of this thread, minima of
    alternating repeats, which other load on the machine changes little. A small convolution, of which the constant cost
    of several threads would be measured (oneDNN's is higher in bfloat16), only tells a type that has no instructions.
    """
    speed = _speed_of_convolution(dtype, batch=2, repeats=1)
    return _speed_of_convolution(dtype, batch=8, repeats=_REPEATS) if speed >= _SLOW else speed


def _speed_of_convolution(dtype: torch.dtype, batch: int, repeats: int) -> float:
    x = torch.ones(batch, 32, 15, 16, 11).to(memory_format=torch.channels_last_3d)
    weight = torch.ones(64, 32, 3, 3, 3)
    best = {torch.float32: float("inf"), dtype: float("inf")}
    for _ in range(1 + repeats):
        for timed in best:
            timed_x, timed_weight = (t.to(timed).requires_grad_() for t in (x, weight))
            start = time.thread_time()
            F.conv3d(timed_x, timed_weight, padding=1).sum().backward()
            best[timed] = min(best[timed], time.thread_time() - start)
    return best[torch.float32] / best[dtype]
