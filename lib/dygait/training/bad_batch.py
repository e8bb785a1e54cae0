"""Saving and diagnosing (`dygait debug-batch`) a batch whose gradient is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dygait import distributed
from dygait.config import Config
from dygait.data.collate import Batch
from dygait.errors import UserError
from dygait.losses import LossAggregator
from dygait.modeling import MODELS
from dygait.runs import checkpoint_files, networks, sources
from dygait.runs.folder import RunFolder


def save_bad_batch(
    folder: RunFolder, config: Config, network: nn.Module, batch: Batch, source: sources.Source, iteration: int
) -> Path:
    """Save this process's share of a batch, the names of its sequences, and the network; return the path.

    The file is ``<run>/debug/batch-<iteration>-rank<rank>.pt``.
    """
    ids, types, views = source.dataset.keys()
    state = {
        "model": network.state_dict(),
        "batch": vars(batch.map(torch.Tensor.cpu)),
        "names": [f"{ids[i]}/{types[i]}/{views[i]}" for i in batch.sequences.tolist()],
        "iteration": iteration,
        "config": config.as_dict(),
    }
    path = folder.root / "debug" / f"batch-{iteration:05d}-rank{distributed.rank()}.pt"
    checkpoint_files.save_checkpoint(path, state)
    return path


def diagnose(state: Mapping[str, Any], source: str) -> list[str]:
    """Return lines of text about a batch saved by `save_bad_batch`: its content, and where values become non-finite.

    Raises:
        UserError: something is missing or invalid; the message names the file, `source`.
    """
    try:
        return _diagnose(state, source)
    except UserError:
        raise
    except Exception as error:  # untrusted input
        raise UserError(
            f"{source} cannot be computed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from None


def _diagnose(state: Mapping[str, Any], source: str) -> list[str]:
    missing = {"batch", "names", "config"} - state.keys()
    if missing:
        raise UserError(f"{source} is no saved batch: it has no {', '.join(sorted(missing))}")
    config = Config.model_validate(state["config"])
    for file in config.custom_imports if config.model_cfg.model not in MODELS else []:
        # Untrusted input must not choose which code is executed.
        raise UserError(
            f"{source}: its model {config.model_cfg.model} is not built in, and the code that it names ({file}) is not "
            f"executed; name the file with --custom-import"
        )
    network = networks.build_network(config, torch.device("cpu"))
    checkpoint_files.load_state(network, state["model"], source)
    batch = Batch(**state["batch"])
    lines = [f"iteration {state['iteration']}, {len(state['names'])} sequences:"]
    for name, label, frames in zip(state["names"], batch.labels.tolist(), batch.silhouettes, strict=True):
        lines.append(f"  {name}, class {label}: grey levels {int(frames.min())}..{int(frames.max())}, mean "
                     f"{frames.float().mean():.1f}")  # fmt: skip
    broken = [name for name, tensor in network.state_dict().items() if not _is_finite(tensor)]
    lines.append(f"non-finite weights: {', '.join(broken) or 'none'}")
    losses = LossAggregator([term.model_dump() for term in config.loss_cfg])
    return lines + _forward_backward(network, losses, batch)


def _forward_backward(network: nn.Module, losses: LossAggregator, batch: Batch) -> list[str]:
    not_finite: list[str] = []

    def check_output(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if _is_finite(inputs) and not _is_finite(output):
            not_finite.append(name or type(module).__name__)

    for name, module in network.named_modules():
        module.register_forward_hook(partial(check_output, name))
    output = network.train()(batch.scaled(), batch.lengths)
    lines = [f"first modules with a non-finite output, in float32: {', '.join(not_finite) or 'nothing'}"]
    loss, statistics = losses(output, batch.labels, batch.class_labels)
    lines.append("losses: " + ", ".join(f"{name} {float(value):.4g}" for name, value in statistics.items()))
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    broken = [name for name, gradient in gradients.items() if not _is_finite(gradient)]
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    lines.append(f"gradients, in float32: norm {float(norm):.4g}; non-finite: {', '.join(broken) or 'none'}")
    return lines


def _is_finite(value: Any) -> bool:
    """Return whether all numbers of a tensor, or of the tensors in tuples and lists, are finite."""
    if isinstance(value, torch.Tensor):
        return bool(torch.isfinite(value).all())
    return all(map(_is_finite, value)) if isinstance(value, (tuple, list)) else True
