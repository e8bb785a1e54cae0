"""The scaling model: what a training step costs as batch, frames, channels, classes and GPUs grow.

Counted on paper, so for any size on any machine: multiply-adds and bytes of the share of one GPU, and the bytes that it
exchanges with the others. From these an estimate of the time on known GPUs, under efficiencies that are assumed, not
measured.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dygait.config import Config
from dygait.losses import Loss, LossAggregator
from dygait.profiling.counting import Counter, Key, Work, total
from dygait.profiling.material import batch_size, frames_of, geometries
from dygait.profiling.paper import Paper, halved, model_settings
from dygait.profiling.report import amount, percent, table

FLOAT = 4
"""Bytes of a weight and of its gradient."""
_PASSES = {"SGD": 5, "Adam": 7, "AdamW": 7}
"""How often an optimiser reads or writes a number for each weight: weight and gradient read, state read and written,
weight written. SGD with momentum has one state, Adam two."""
_FEWEST = 2
"""Sequences of a GPU's share: the head's BatchNorm cannot train on one."""


@dataclass(frozen=True)
class Machine:
    """A GPU, by its maker's data sheet, and what share of each figure is assumed to be reached.

    Attributes:
        half: multiply-adds a second in float16 or bfloat16, dense.
        single: the same of float32 through TensorFloat-32, which PyTorch's convolutions use.
        memory: bytes a second.
        link: bytes a second to the other GPUs, in each direction.
        products: the share of `half` or `single` that is assumed.
        transfers: the share of `memory` and `link` that is assumed.
    """

    half: float
    single: float
    memory: float
    link: float
    products: float
    transfers: float


MACHINES = {
    "A100 80GB SXM": Machine(156e12, 78e12, 2.04e12, 300e9, 0.4, 0.75),
    "H100 SXM": Machine(495e12, 247e12, 3.35e12, 450e9, 0.3, 0.75),
}
"""A fused multiply-add is two of a data sheet's operations. 3-D convolutions of these widths fill a larger GPU less."""


@dataclass(frozen=True)
class StepCost:
    """What a training step costs one of its GPUs.

    Attributes:
        works: network and losses, by phase, layer and kind of work.
        parameters: numbers that are trained.
        optimiser_bytes: moved by the optimiser.
        reduced_bytes: that each GPU sends, and receives, to average gradients: a ring over G of them takes
            2 (G - 1) / G times their size.
        gathered_bytes: that each receives to see the embeddings of the whole batch, and their gradient.
    """

    works: dict[Key, Work]
    parameters: int
    optimiser_bytes: int
    reduced_bytes: int
    gathered_bytes: int

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return total(self.works.values()).all_macs

    @property
    def moved(self) -> int:
        """Bytes moved by network, losses and optimiser."""
        return total(self.works.values()).moved + self.optimiser_bytes

    def seconds(self, machine: Machine) -> float:
        """Estimate a step: every kind of work of a layer takes the longer of multiplying and moving its bytes.

        Averaging gradients goes on beside the backward pass, as DistributedDataParallel does it.
        """
        phases = {"forward": 0.0, "backward": 0.0}
        for key, work in self.works.items():
            multiplying = sum(
                count / (machine.single if dtype in ("float32", "float64") else machine.half)
                for dtype, count in work.macs.items()
            )
            moving = work.moved / (machine.memory * machine.transfers)
            phases[key.phase] += max(multiplying / machine.products, moving)
        link = machine.link * machine.transfers
        averaging = self.reduced_bytes / link
        rest = self.gathered_bytes / link + self.optimiser_bytes / (machine.memory * machine.transfers)
        return phases["forward"] + max(phases["backward"], averaging) + rest


def ring_bytes(size: int, gpus: int) -> int:
    """Return what each of G GPUs sends, and receives, to sum `size` bytes over all in a ring: 2 (G - 1) / G of it."""
    return 2 * (gpus - 1) * size // gpus


def step_cost(settings: Mapping[str, Any], config: Config, sequences: int, frames: int, gpus: int) -> StepCost:
    """Count a step.

    Args:
        settings: the model's.
        config: everything else: losses, optimiser, precision, input.
        sequences: N, over all GPUs together; shared out evenly.
        frames: S.
        gpus: how many.
    """
    share = sequences // gpus
    paper = Paper(settings, geometries(config), halved(config))
    works = paper.count(share, frames)
    gathered = 0
    losses = LossAggregator([term.model_dump() for term in config.loss_cfg])
    for loss in losses.losses:
        assert isinstance(loss, Loss)
        shape = (sequences if loss.needs_whole_batch else share, *paper.shapes[loss.reads])
        if loss.needs_whole_batch:
            gathered += 2 * math.prod(shape) * FLOAT * (gpus - 1) // gpus
        for key, work in _count_loss(paper, loss, shape).items():
            works.setdefault(key, Work()).add(work)
    count = sum(p.numel() for p in paper.model.parameters())
    return StepCost(
        works,
        count,
        count * FLOAT * _PASSES.get(config.optimizer_cfg.solver, 7),
        ring_bytes(count * FLOAT, gpus),
        gathered,
    )


def _count_loss(paper: Paper, loss: Loss, shape: tuple[int, ...]) -> dict[Key, Work]:
    phase = ["forward"]
    with paper.mode:
        read = torch.empty(shape, requires_grad=True)
        labels = torch.zeros(len(read), dtype=torch.int64)
        with Counter({"losses": loss}, lambda: phase[0]) as counter:
            value, _ = loss(read, labels)
            phase[0] = "backward"
            value.backward()
    return dict(counter.works)


def _classes(settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the mapping that holds `class_num`, if any does."""
    necks = settings.get("SeparateBNNecks")
    if isinstance(necks, dict):
        return necks
    return settings if settings.get("class_num") else None


def _twice(settings: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    """Return a model's settings with twice the channels, or the classes; None where it has no such setting."""
    changed = copy.deepcopy(dict(settings))
    if what == "classes":
        holder = _classes(changed)
        if holder is None:
            return None
        holder["class_num"] *= 2
        return changed
    if not isinstance(changed.get("channels"), list):
        return None
    changed["channels"] = [2 * c for c in changed["channels"]]
    for section in ("SeparateFCs", "SeparateBNNecks"):
        for key in ("in_channels", "out_channels"):
            if isinstance(changed.get(section), dict) and key in changed[section]:
                changed[section][key] *= 2
    return changed


def scaling(config: Config, gpus: int = 8) -> dict[str, Any]:
    """Compute what a step of a configuration costs, and what it would cost with twice of each quantity.

    Returns:
        `steps`, the costs; `estimates`, by machine: seconds of a step and hours of the whole run.
    """
    settings = model_settings(config)
    people, each = batch_size(config)
    sequences, frames = people * each, frames_of(config)
    cases: list[tuple[str, dict[str, Any] | None, int, int, int]] = [
        ("1 GPU", settings, sequences, frames, 1),
        *((f"{n} GPUs", settings, sequences, frames, n) for n in (2, 4, gpus)),
        (f"{gpus} GPUs, twice N", settings, 2 * sequences, frames, gpus),
        (f"{gpus} GPUs, twice S", settings, sequences, 2 * frames, gpus),
        (f"{gpus} GPUs, twice the channels", _twice(settings, "channels"), sequences, frames, gpus),
        (f"{gpus} GPUs, twice K", _twice(settings, "classes"), sequences, frames, gpus),
    ]
    steps, base, largest = [], None, 1
    for name, changed, n, s, processes in cases:
        if changed is None or n % processes or n // processes < _FEWEST:
            continue
        cost = step_cost(changed, config, n, s, processes)
        if base is None or (n, s, changed) == (sequences, frames, settings):
            base, largest = cost, processes
        steps.append(
            {
                "case": name,
                "sequences_of_a_gpu": n // processes,
                "multiply_adds": cost.macs,
                "bytes": cost.moved,
                "reduced_bytes": cost.reduced_bytes,
                "gathered_bytes": cost.gathered_bytes,
                "seconds": {machine: cost.seconds(figures) for machine, figures in MACHINES.items()},
            }
        )
    assert base is not None
    total_iter = config.trainer_cfg.total_iter
    estimates = {
        machine: {"step_seconds": base.seconds(figures), "run_hours": base.seconds(figures) * total_iter / 3600}
        for machine, figures in MACHINES.items()
    }
    return {
        "batch": [people, each],
        "frames": frames,
        "parameters": base.parameters,
        "gpus": largest,
        "total_iter": total_iter,
        "steps": steps,
        "estimates": estimates,
        "assumed": {machine: vars(figures) for machine, figures in MACHINES.items()},
    }


def to_text(result: Mapping[str, Any]) -> str:
    """Return the scaling of a configuration in words."""
    people, each = result["batch"]
    machines = list(MACHINES)
    head = ("a GPU's share of a step", "N", "MACs", "bytes moved", "all-reduced", "gathered", *machines)
    rows = [
        (
            step["case"],
            str(step["sequences_of_a_gpu"]),
            amount(step["multiply_adds"]),
            amount(step["bytes"], "B"),
            amount(step["reduced_bytes"], "B"),
            amount(step["gathered_bytes"], "B"),
            *(f"{1000 * step['seconds'][machine]:.0f} ms" for machine in machines),
        )
        for step in result["steps"]
    ]
    lines = [
        f"batch {people} x {each}, {result['frames']} frames, {amount(result['parameters'])} parameters; "
        f"counted, times estimated",
        "",
        table(head, rows),
        "",
    ]
    for machine, figures in MACHINES.items():
        hours = result["estimates"][machine]["run_hours"]
        lines.append(
            f"{result['total_iter']} iterations on {result['gpus']} {machine}: about {hours:.1f} h, an estimate: "
            f"{percent(figures.products)} of {amount(2 * figures.half, 'FLOP/s')} (half precision) or "
            f"{amount(2 * figures.single, 'FLOP/s')}, {percent(figures.transfers)} of "
            f"{amount(figures.memory, 'B/s')} and of {amount(figures.link, 'B/s')} between GPUs; loading not counted"
        )
    return "\n".join(lines)
