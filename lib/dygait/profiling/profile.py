"""Profile the training step of a configuration: multiply-adds, time, and share of the machine's peak."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dygait.config import Config
from dygait.errors import UserError
from dygait.files import write_errors
from dygait.machine import tune_allocator
from dygait.profiling import machine_peak
from dygait.profiling.counts import count_network, plain_form
from dygait.profiling.example_batch import Batches, batch_size, frames_of, input_sizes, training_batches
from dygait.profiling.layers import Cost, Layer, LayerTracker, total
from dygait.profiling.phases import PHASES, PhaseClock
from dygait.runs.memory import is_out_of_memory
from dygait.runs.networks import model_settings
from dygait.runs.precision import half_type
from dygait.training.trainer import Trainer, build_trainer

_WARM_UP_STEPS = 2
_TRACKED_STEPS = 2


def run_step(trainer: Trainer, source: Batches, clock: PhaseClock) -> None:
    """Run one step, including the wait for its batch."""
    clock.begin()
    batch = next(source.stream)
    clock.enter("transfer")
    trainer.step(batch)
    clock.end()


def profile(config: Config, device: torch.device, steps: int = 5, trace: Path | None = None) -> dict[str, Any]:
    """Profile a configuration's training step.

    Args:
        steps: the number of steps; times of phases are medians.
        trace: a folder for the trace of one step, for TensorBoard's profiler, chrome://tracing or Perfetto.

    Returns:
        Plain values, as `text.to_text` prints them.

    Raises:
        UserError: the configuration is not valid, or the batch does not fit.
    """
    if config.trainer_cfg.tune_allocator and device.type == "cpu":
        tune_allocator()
    trainer = build_trainer(config, device)
    config = trainer.config  # half precision is resolved
    settings = config.trainer_cfg
    dtype = half_type(device, settings.half_type) if settings.enable_float16 else torch.float32
    peak = machine_peak.products_per_second(device, dtype)
    trainer.training_mode()
    source = training_batches(config, device, trainer.network)
    _warm_up(trainer, source)
    machine_peak.start_peak(device)
    with PhaseClock(trainer) as clock:
        for _ in range(steps):
            run_step(trainer, source, clock)
    memory = machine_peak.peak_bytes(device)
    costs = layer_costs(_eager(trainer), source)
    operations = [] if trace is None else trace_step(trainer, source, trace)
    peak = max(peak, machine_peak.products_per_second(device, dtype))
    totals = [sum(step.values()) for step in clock.steps]
    step_seconds = statistics.median(totals)
    return {
        **_describe(config, device, source),
        **_counts(config, costs),
        "peak_bytes": memory,
        "peak": {"multiply_adds_per_second": {str(dtype).removeprefix("torch."): peak}},
        "seconds": {
            "step": step_seconds,
            "counted_step": total(costs.values()).seconds,
            "phases": {phase: statistics.median(step[phase] for step in clock.steps) for phase in PHASES},
        },
        "spread": {"fastest": min(totals), "slowest": max(totals)},
        "share_of_peak": total(costs.values()).multiply_adds / peak / step_seconds,
        "layers": _table(costs, peak, lambda layer: (layer.path, layer.class_name)),
        "layer_classes": _table(costs, peak, lambda layer: (layer.class_name,)),
        "operations": operations,
    }


def _warm_up(trainer: Trainer, source: Batches) -> None:
    """Run the first steps; UserError if the batch does not fit the memory."""
    try:
        with machine_peak.limited_memory(machine_peak.usable_bytes(trainer.device)):
            for _ in range(_WARM_UP_STEPS):
                trainer.step(next(source.stream))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        subjects, per_subject = batch_size(trainer.config)
        raise UserError(
            f"a batch of {subjects} x {per_subject} sequences does not fit the memory: set a smaller one with --batch "
            "P K, or search for it with --find-batch"
        ) from None


def _describe(config: Config, device: torch.device, source: Batches) -> dict[str, Any]:
    return {
        "config": {
            "model": config.model_cfg.model,
            "batch": list(batch_size(config)),
            "frames": frames_of(config),
            "input": input_sizes(config),
            "half_precision": config.trainer_cfg.enable_float16,
        },
        "data": {"origin": source.origin, "real": source.real},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def _counts(config: Config, costs: Mapping[Layer, Cost]) -> dict[str, Any]:
    """Return parameters, and multiply-adds in the plain form and as executed."""
    p, k = batch_size(config)
    plain = count_network(plain_form(model_settings(config)), input_sizes(config), frames_of(config))
    forward = sum(cost.multiply_adds for layer, cost in costs.items() if layer.phase == "forward")
    losses = sum(cost.multiply_adds for layer, cost in costs.items() if layer.path.startswith("losses"))
    return {
        "parameters": {"all": plain.parameters, "without_class_head": plain.without_class_head},
        "multiply_adds": {
            "forward_of_a_sequence": {"plain_form": plain.forward, "executed": round(forward / (p * k))},
            "step": {
                "plain_form": (plain.forward + plain.backward) * p * k + losses,
                "executed": total(costs.values()).multiply_adds,
            },
        },
    }


def _eager(trainer: Trainer) -> Trainer:
    """Return the trainer, or a copy that is not compiled: a compiled network has no layers."""
    if not trainer.config.trainer_cfg.compile:
        return trainer
    settings = trainer.config.trainer_cfg.model_copy(update={"compile": False})
    eager = build_trainer(trainer.config.model_copy(update={"trainer_cfg": settings}), trainer.device)
    eager.training_mode()
    return eager


def layer_costs(trainer: Trainer, source: Batches) -> dict[Layer, Cost]:
    """Return the mean time of each layer over some steps, and its multiply-adds in a further step."""
    roots = {"": trainer.network, "losses": trainer.losses}
    with (
        LayerTracker(roots, trainer.device) as timed,
        PhaseClock(trainer, waits=False, on_phase=timed.enter_phase) as clock,
    ):
        for _ in range(_TRACKED_STEPS):
            run_step(trainer, source, clock)
    with (
        FlopCounterMode(display=False) as counter,
        LayerTracker(roots, trainer.device, counter) as counted,
        PhaseClock(trainer, waits=False, on_phase=counted.enter_phase) as clock,
    ):
        run_step(trainer, source, clock)
    return {
        layer: Cost(timed.costs.get(layer, Cost()).seconds / _TRACKED_STEPS, cost.multiply_adds)
        for layer, cost in counted.costs.items()
    }


def trace_step(trainer: Trainer, source: Batches, folder: Path) -> list[dict[str, Any]]:
    """Write a trace of one step, and return its PyTorch operations, longest first; UserError if that fails."""
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        writer = torch.profiler.tensorboard_trace_handler(str(folder))
        with torch.profiler.profile(on_trace_ready=writer) as profiler, PhaseClock(trainer, waits=False) as clock:
            run_step(trainer, source, clock)
    on_gpu = trainer.device.type == "cuda"
    rows = [
        {
            "name": event.key,
            "calls": event.count,
            "seconds": (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6,
        }
        for event in profiler.key_averages()
        if event.key not in PHASES and event.device_type == torch.autograd.DeviceType.CPU
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def _table(costs: Mapping[Layer, Cost], peak: float, name: Callable[[Layer], tuple[str, ...]]) -> list[dict[str, Any]]:
    """Sum the costs by name, longest first."""
    groups: dict[tuple[str, ...], dict[str, Cost]] = {}
    for layer, cost in costs.items():
        phases = groups.setdefault(name(layer), {})
        phases[layer.phase] = phases.get(layer.phase, Cost()) + cost
    rows = []
    for names, phases in groups.items():
        cost = total(phases.values())
        rows.append(
            {
                "name": list(names),
                "seconds": cost.seconds,
                "by_phase": {phase: part.seconds for phase, part in phases.items()},
                "multiply_adds": cost.multiply_adds,
                "share_of_peak": cost.multiply_adds / peak / cost.seconds if cost.multiply_adds else None,
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])
