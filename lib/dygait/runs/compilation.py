"""`torch.compile`: checked before training, and compiled once for all sequence lengths."""

from __future__ import annotations

import time

import torch
from torch import nn

from dygait.errors import UserError
from dygait.logs import log
from dygait.modeling.dam import DynamicAugmentation

BACKEND = "inductor"


def compile_network(network: nn.Module, setting: bool | str, device: torch.device) -> None:
    """Compile a network in place, at its first call, according to `trainer_cfg.compile`; weights keep their names.

    Raises:
        UserError: this machine has no compiler, or the network cannot be compiled.
    """
    if not setting:
        return
    if any(isinstance(m, DynamicAugmentation) and m.options.checkpointing for m in network.modules()):
        raise UserError("trainer_cfg.compile: torch.compile does not support model_cfg.checkpointing; set one to false")
    _check_compiler(device)
    network.compile(backend=BACKEND, mode="default" if setting is True else str(setting))
    log.info("compiling the network; the first iterations take minutes")


def mark_frames(inputs: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
    """Mark the number of frames of (N, S, H, W) as dynamic, so that one compilation serves all sequence lengths."""
    for frames in (inputs,) if isinstance(inputs, torch.Tensor) else inputs:
        torch._dynamo.maybe_mark_dynamic(frames, 1)


def _check_compiler(device: torch.device) -> None:
    """Compile a trivial function, so that a missing compiler is found before the data is read."""
    factor = 1 + time.time_ns() % 10**9 / 1e9  # a new constant, so that no cache is used

    def scale(x: torch.Tensor) -> torch.Tensor:
        return x * factor

    try:
        torch.compile(scale, backend=BACKEND)(torch.ones(16, device=device))
    except Exception as error:  # compilers, and their absence, raise anything
        lines = [text.strip() for text in str(error).splitlines() if text.strip()]
        requirement = (
            "a C++ compiler (GCC's g++, or another that the environment variable CXX names)"
            if device.type == "cpu"
            else "Triton and a C compiler (GCC, or another that the environment variable CC names)"
        )
        raise UserError(
            f"trainer_cfg.compile: torch.compile does not work here: {lines[0] if lines else type(error).__name__}. "
            f"It needs {requirement}; or set compile to false"
        ) from None
