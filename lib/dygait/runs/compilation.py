"""`torch.compile`, as an option: checked before training, and compiled once for all lengths of sequences."""

from __future__ import annotations

import time

import torch
from torch import nn

from dygait.errors import UserError
from dygait.logs import log

BACKEND = "inductor"


def compile_network(network: nn.Module, setting: bool | str, device: torch.device) -> None:
    """Let a network compile itself when it is first called; it stays the same module, with the same names of weights.

    Args:
        network: compiled in place.
        setting: `trainer_cfg.compile`.
        device: where it computes.

    Raises:
        UserError: nothing can be compiled on this machine, or this network cannot.
    """
    if not setting:
        return
    if any(getattr(module, "checkpointing", False) for module in network.modules()):
        raise UserError(
            "trainer_cfg.compile: torch.compile does not go together with model_cfg.checkpointing; set one to false"
        )
    _try(device)
    network.compile(backend=BACKEND, mode="default" if setting is True else str(setting))
    log.info("compiling the network; the first iterations take minutes")


def mark_frames(inputs: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
    """Say that the next batch may have another number of frames, so that one compilation serves them all.

    Args:
        inputs: (N, S, H, W), or one of them for each modality.
    """
    for frames in (inputs,) if isinstance(inputs, torch.Tensor) else inputs:
        torch._dynamo.maybe_mark_dynamic(frames, 1)


def _try(device: torch.device) -> None:
    """Compile a line: what is missing on this machine shows now, and not after the data has been read."""
    factor = 1 + time.time_ns() % 10**9 / 1e9  # new each time, so that no cache answers

    def line(x: torch.Tensor) -> torch.Tensor:
        return x * factor

    try:
        torch.compile(line, backend=BACKEND)(torch.ones(16, device=device))
    except Exception as error:  # whatever a compiler, or its absence, raises
        said = [text.strip() for text in str(error).splitlines() if text.strip()]
        needs = (
            "a C++ compiler (GCC's g++, or another that the environment variable CXX names)"
            if device.type == "cpu"
            else "Triton and a C compiler (GCC, or another that the environment variable CC names)"
        )
        raise UserError(
            f"trainer_cfg.compile: torch.compile does not work here: {said[0] if said else type(error).__name__}. "
            f"It needs {needs}; or set compile to false"
        ) from None
