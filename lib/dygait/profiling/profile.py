"""Profile the training step of a configuration: count it, time it, and hold it against the machine."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from dygait.config import Config
from dygait.engine.train import Trainer, build_trainer
from dygait.errors import UserError
from dygait.machine import tune_allocator
from dygait.profiling import machine_peak
from dygait.profiling.counting import Counter, Key, Work, total
from dygait.profiling.material import (
    Material,
    batch_size,
    classes_of,
    frames_of,
    geometries,
    made_batch,
    material,
)
from dygait.profiling.paper import count_network, parameters
from dygait.profiling.phases import PHASES, PhaseClock

_WARM = 2
_COUNTED = 2
_RESERVE = 0.8
"""The share of the free memory that a step may take."""


def run_step(trainer: Trainer, material: Material, clock: PhaseClock) -> None:
    """Take a step, from the wait for its batch on."""
    clock.begin()
    batch = next(material.stream)
    clock.enter("transfer")
    trainer.step(batch, material.divisors)
    clock.end()


def refuse_too_large(config: Config, trainer: Trainer) -> None:
    """Refuse a batch that this machine's memory cannot hold, by what two small ones take.

    Raises:
        UserError: it cannot.
    """
    people, each = batch_size(config)
    free = machine_peak.available_bytes()
    few = config.trainer_cfg.accumulate  # sequences of each of two people: every part of a batch has one at least
    if trainer.device.type != "cpu" or free is None or people * each <= 4 * few:
        return
    divisors = [255.0] * config.data_cfg.modalities
    peaks = []
    for small in (few, few, 2 * few):  # the first step makes the optimiser's state
        machine_peak.start_peak(trainer.device)
        trainer.step(made_batch(config, 2, small, classes_of(trainer.network)), divisors)
        peaks.append(machine_peak.peak_bytes(trainer.device) or 0)
    now = machine_peak.status_bytes("VmRSS") or 0
    needed = peaks[1] + max(0, peaks[2] - peaks[1]) / (2 * few) * (people * each - 2 * few) - now
    if needed > _RESERVE * free:
        raise UserError(
            f"a batch of {people} x {each} sequences needs about {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free: give a smaller one, --batch P K, or let --find-batch look for it"
        )


def profile(config: Config, device: torch.device, steps: int = 5, trace: Path | None = None) -> dict[str, Any]:
    """Profile a configuration's training step.

    Args:
        config: the experiment.
        device: where to compute.
        steps: how many steps the times of the phases are medians of.
        trace: a folder for a trace of one step, which TensorBoard's profiler, chrome://tracing and Perfetto read.

    Returns:
        Plain values, as `report.to_text` prints them.

    Raises:
        UserError: the configuration or the machine does not allow it.
    """
    if config.trainer_cfg.tune_allocator and device.type == "cpu":
        tune_allocator()
    peaks = _Peaks(device)
    trainer = build_trainer(config, device)
    config = trainer.config  # half precision is settled
    trainer.training_mode()
    refuse_too_large(config, trainer)
    source = material(config, device, trainer.network)
    for _ in range(_WARM):
        trainer.step(next(source.stream), source.divisors)
    machine_peak.start_peak(device)
    with PhaseClock(trainer) as clock:
        for _ in range(steps):
            run_step(trainer, source, clock)
    memory = machine_peak.peak_bytes(device)
    works = count_step(_eager(trainer), source)
    peaks.measure(work for work in works.values())
    if trace is not None:
        write_trace(trainer, source, trace)
    people, each = batch_size(config)
    sequences, frames = people * each, frames_of(config)
    plain = count_network(config, "plain", 2, frames)  # a BatchNorm that trains wants two; both do the same
    losses = sum(work.all_macs for key, work in works.items() if key.layer.startswith("losses"))
    executed_forward = sum(work.all_macs for key, work in works.items() if key.phase == "forward")
    medians = {phase: statistics.median(step[phase] for step in clock.steps) for phase in PHASES}
    step_seconds = statistics.median(sum(step.values()) for step in clock.steps)
    counted = total(works.values())
    return {
        "config": {
            "model": config.model_cfg.model,
            "batch": [people, each],
            "frames": frames,
            "input": geometries(config),
            "half_precision": config.trainer_cfg.enable_float16,
        },
        "data": {"origin": source.origin, "real": source.real},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "parameters": parameters(config),
        "multiply_adds": {
            "forward_of_a_sequence": {
                "plain_form": sum(w.all_macs for k, w in plain.items() if k.phase == "forward") // 2,
                "executed": round(executed_forward / sequences),
            },
            "step": {
                "plain_form": total(plain.values()).all_macs // 2 * sequences + losses,
                "executed": counted.all_macs,
            },
        },
        "peak_bytes": memory,
        "peak": peaks.as_dict(),
        "seconds": {"step": step_seconds, "counted_step": counted.seconds, "phases": medians},
        "spread": {
            "fastest": min(sum(s.values()) for s in clock.steps),
            "slowest": max(sum(s.values()) for s in clock.steps),
        },
        "share_of_peak": peaks.share(counted, step_seconds),
        "layers": _table(works, peaks, lambda key: (key.layer, key.layer_class)),
        "layer_classes": _table(works, peaks, lambda key: (key.layer_class,)),
        "kinds": _table(works, peaks, lambda key: (key.layer_class, key.kind)),
    }


def _eager(trainer: Trainer) -> Trainer:
    """Return the trainer, or, of one whose network is compiled, another that is not: compiled work has no layers."""
    if not trainer.config.trainer_cfg.compile:
        return trainer
    settings = trainer.config.trainer_cfg.model_copy(update={"compile": False})
    eager = build_trainer(trainer.config.model_copy(update={"trainer_cfg": settings}), trainer.device)
    eager.training_mode()
    return eager


def count_step(trainer: Trainer, source: Material) -> dict[Key, Work]:
    """Count and time a step operation by operation; the mean of a few."""
    roots = {"": trainer.network, "losses": trainer.losses}
    with PhaseClock(trainer, waits=False) as clock, Counter(roots, lambda: clock.phase, timed=True) as counter:
        for _ in range(_COUNTED):
            run_step(trainer, source, clock)
            counter.forget_graph()
    for work in counter.works.values():
        work.calls //= _COUNTED
        work.moved //= _COUNTED
        work.seconds /= _COUNTED
        for dtype in work.macs:
            work.macs[dtype] //= _COUNTED
    return dict(counter.works)


def write_trace(trainer: Trainer, source: Material, folder: Path) -> None:
    """Write a trace of one step.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = torch.profiler.tensorboard_trace_handler(str(folder))
        with torch.profiler.profile(on_trace_ready=writer), PhaseClock(trainer, waits=False) as clock:
            run_step(trainer, source, clock)
    except OSError as error:
        raise UserError(f"the trace cannot be written to {folder}: {error}") from None


class _Peaks:
    """The machine's peaks, measured before and after; the better one counts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.products: dict[str, float] = {}
        self.bandwidth = machine_peak.bytes_per_second(device)

    def measure(self, works: Any) -> None:
        """Measure the peak of every dtype that was multiplied in."""
        for name in {dtype for work in works for dtype in work.macs}:
            dtype = getattr(torch, name)
            rates = [machine_peak.products_per_second(self.device, dtype) for _ in range(2)]
            self.products[name] = max(rates)
        self.bandwidth = max(self.bandwidth, machine_peak.bytes_per_second(self.device))

    def ideal(self, work: Work) -> float:
        """Return the seconds that the multiply-adds would take at the peak."""
        return sum(count / self.products[dtype] for dtype, count in work.macs.items())

    def share(self, work: Work, seconds: float) -> float | None:
        """Return the share of the peak that some work had; None where it has no multiply-adds."""
        return self.ideal(work) / seconds if work.all_macs and seconds else None

    def as_dict(self) -> dict[str, Any]:
        """Return multiply-adds a second by dtype, and bytes a second."""
        return {"multiply_adds_per_second": dict(self.products), "bytes_per_second": self.bandwidth}


def _table(works: Mapping[Key, Work], peaks: _Peaks, name: Callable[[Key], tuple[str, ...]]) -> list[dict[str, Any]]:
    """Sum the work by a name, the longest first."""
    groups: dict[tuple[str, ...], dict[str, Work]] = {}
    for key, work in works.items():
        groups.setdefault(name(key), {}).setdefault(key.phase, Work()).add(work)
    rows = []
    for names, phases in groups.items():
        work = total(phases.values())
        rows.append(
            {
                "name": list(names),
                "seconds": work.seconds,
                "by_phase": {phase: part.seconds for phase, part in phases.items()},
                "multiply_adds": work.all_macs,
                "bytes": work.moved,
                "share_of_peak": peaks.share(work, work.seconds),
                "share_of_bandwidth": work.moved / peaks.bandwidth / work.seconds if work.seconds else None,
                # How near to what the machine can do at best: it must multiply, and it must move the bytes.
                "share_of_bound": max(peaks.ideal(work), work.moved / peaks.bandwidth) / work.seconds
                if work.seconds
                else None,
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])
