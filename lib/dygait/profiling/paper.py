"""Count a configuration's network on paper: its tensors have shapes and no memory, so that any size can be counted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dygait.config import Config
from dygait.modeling import MODELS, complete_model_cfg
from dygait.profiling.counting import Counter, Key, Work
from dygait.profiling.material import frames_of, geometries


def model_settings(config: Config, form: str | None = None) -> dict[str, Any]:
    """Return a configuration's `model_cfg`, complete; `form` sets how its DAMs compute, if it has any."""
    settings = complete_model_cfg(config.model_cfg.model_dump(), config.data_cfg.dataset_name)
    if form is not None and "dam" in inspect.signature(MODELS.get(settings["model"])).parameters:
        settings["dam"] = form
    return settings


class Paper:
    """A model whose tensors have no memory.

    Args:
        settings: its `model_cfg`.
        sizes: (H, W) of each modality.
        half: bfloat16 by autocast.

    The tensors pretend to be a CPU's, which autocast wants, but a form for processors alone (Winograd's filtering) is
    not taken: what is counted is a GPU's.

    Attributes:
        shapes: of each output of the last count, for one sequence.
    """

    def __init__(self, settings: Mapping[str, Any], sizes: list[tuple[int, int]], half: bool) -> None:
        self.mode = FakeTensorMode()
        self.sizes = sizes
        self.half = half
        self.shapes: dict[str, tuple[int, ...]] = {}
        with self.mode:
            self.model: nn.Module = MODELS.build(settings)

    def count(self, sequences: int, frames: int) -> dict[Key, Work]:
        """Count forward and backward pass of N sequences of S frames."""
        phase = ["forward"]
        with self.mode, Counter({"": self.model}, lambda: phase[0]) as counter:
            output = self._forward(sequences, frames)
            phase[0] = "backward"
            read = [t for t in (output.embeddings, output.logits) if t is not None]
            self.shapes = {n: tuple(t.shape[1:]) for n, t in output._asdict().items() if t is not None}
            torch.autograd.backward(read, [torch.empty_like(t) for t in read])
        return dict(counter.works)

    def parameters(self, frames: int) -> dict[str, int]:
        """Return the number of parameters: all, and those without the class head, which no embedding depends on."""
        with self.mode:
            output = self._forward(2, frames)
            (output.embeddings.sum() + output.inference.sum()).backward()
        every = list(self.model.parameters())
        kept = sum(p.numel() for p in every if p.grad is not None)
        return {"all": sum(p.numel() for p in every), "without_class_head": kept}

    def _forward(self, sequences: int, frames: int) -> Any:
        made = tuple(torch.empty(sequences, frames, *size) for size in self.sizes)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            return self.model(made[0] if len(made) == 1 else made)


def halved(config: Config) -> bool:
    """Say whether a configuration trains in half precision; `auto` does where that pays, as on a GPU."""
    return config.trainer_cfg.enable_float16 is not False


def paper_of(config: Config, form: str | None = None) -> Paper:
    """Return a configuration's model on paper; `form` as of `model_settings`."""
    return Paper(model_settings(config, form), geometries(config), halved(config))


def parameters(config: Config) -> dict[str, int]:
    """Return the number of a configuration's parameters, with and without the class head."""
    return paper_of(config).parameters(frames_of(config))


def count_network(config: Config, form: str | None, sequences: int, frames: int) -> dict[Key, Work]:
    """Count forward and backward pass of N sequences of S frames through a configuration's network."""
    return paper_of(config, form).count(sequences, frames)
