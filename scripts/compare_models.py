"""All models side by side, by default on the synthetic walkers: small networks, one schedule, one table.

    python scripts/compare_models.py                       # the data is made first where it is missing; an hour or so
    python scripts/compare_models.py --quick               # three people, two iterations, to see that it runs
    python scripts/compare_models.py --iterations 900 --json FILE --markdown FILE
    python scripts/compare_models.py DyGait=configs/Dygait_SynGait.yaml Mine=mine.yaml
    python scripts/compare_models.py --minutes 60 --output DIR DyGait=configs/Dygait_CASIA-B_cpu.yaml Mine=mine.yaml

With `--minutes` every training has the same time instead of as many iterations: the steps of all are timed in turn,
each schedule is shortened or stretched to what fits, and written to DIR/NAME.yaml, an ordinary
configuration. On a CPU it is the CPU time per thread, so that pauses and other programs do not count.
Trainings in DIR resume. `--plan` stops after the timing, `--only NAME` after that one training:

    python scripts/compare_models.py --minutes 60 --output DIR --threads 1 --plan A=a.yaml B=b.yaml
    python scripts/compare_models.py --minutes 60 --output DIR --threads 1 --only A A=a.yaml B=b.yaml   # and B so
    python scripts/compare_models.py --minutes 60 --output DIR A=a.yaml B=b.yaml                        # tests, table

Each configuration is trained and tested by the runner's own functions. Rank-1 is CASIA-B's, identical view excluded.
Multiply-adds are those of the convolutions and matrix products that are carried out for one sequence of 30 frames.
Speeds are medians of repeats that go round the models, in sequences a second, of the network with what belongs to it:
an optimiser step on a batch that is loaded, and the embeddings of a batch as the test makes it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from cells import CHECKS, running
from common import ROOT, markdown_table, write_figures
from dygait import cli
from dygait.config import Config, load_config
from dygait.config.load import merge, parse_override
from dygait.files import write_atomically
from dygait.modeling import MODELS
from dygait.runs import sources
from dygait.runs.precision import half_precision, resolve_precision
from dygait.testing.scoring import run_test
from dygait.training.loop import train
from dygait.training.restore_hint import AUTO
from dygait.training.trainer import build_trainer

GROUPS = ("NM", "BG", "CL")
FRAMES = 30
WALKERS = "SynGait"
PER_ITERATION = ("total_steps", "milestones", "T_max", "T_0", "step_size", "total_iters")
"""The schedulers' settings that count iterations."""


def configurations(named: Sequence[str]) -> dict[str, Path]:
    """Return the configurations to compare by name: those of `named`, NAME=FILE, or every model's for SynGait.

    Those that declare a protocol are skipped, as they do not identify people.
    """
    if named:
        return {name: Path(path) for name, _, path in (text.partition("=") for text in named)}
    paths = {}
    for path in sorted((ROOT / "configs").glob(f"*_{WALKERS}.yaml"), key=lambda path: path.stem.lower()):
        if load_config(path).evaluator_cfg.protocol is None:
            name = path.stem.removesuffix(f"_{WALKERS}")
            paths[MODELS.resolve(name) if name in MODELS else name] = path
    return paths


def make_data(folder: Path, quick: bool, more: Sequence[str]) -> None:
    """Generate the synthetic walkers if they are missing."""
    size = ["--train-ids", "2", "--test-ids", "1", "--frames", "5", "6"] if quick else ["--preset", "quick"]
    if not (folder / "SynGait.json").is_file() and cli.main(["synth", "--output", str(folder), *size, *more]):
        raise SystemExit(f"the walkers could not be made in {folder}")


def data_overrides(config: Config, options: argparse.Namespace, work: Path) -> list[str]:
    """Return the overrides of the paths of the data; missing synthetic walkers are generated."""
    if config.data_cfg.dataset_name != WALKERS:
        return [] if options.data is None else [f"data_cfg.dataset_root={options.data.resolve()}"]
    # Several files of a sequence are a heat map and a silhouette.
    folder, more = ("data", []) if config.data_cfg.data_in_use is None else ("heatmaps", ["--heatmaps"])
    data = (options.output or work) / folder if options.quick else options.data or ROOT / "datasets" / WALKERS / folder
    make_data(data, options.quick, more)
    partition = data.resolve() / "SynGait.json"
    return [f"data_cfg.dataset_root={data.resolve()}", f"data_cfg.dataset_partition={partition}"]


def overrides(name: str, path: Path, options: argparse.Namespace, work: Path) -> list[str]:
    """Return the overrides of every configuration: data, no baseline, its folder, and small sizes for `--quick`."""
    small = ["data_cfg.num_workers=0", "trainer_cfg.sampler.batch_size=[2,2]", "trainer_cfg.sampler.frames_num_fixed=6"]
    return [
        *data_overrides(load_config(path), options, work),
        "evaluator_cfg.baseline=null",
        *(f"{section}.save_name={name}" for section in ("trainer_cfg", "evaluator_cfg")),
        *(small if options.quick else []),
    ]


def with_iterations(config: Config, iterations: int) -> list[str]:
    """Return the overrides that set the number of iterations, and scale the schedule with it."""
    before = config.trainer_cfg.total_iter

    def scaled(value: Any) -> Any:
        return [scaled(v) for v in value] if isinstance(value, list) else max(1, round(value * iterations / before))

    keywords = config.scheduler_cfg.keywords
    return [
        f"trainer_cfg.total_iter={iterations}",
        f"trainer_cfg.save_iter={max(1, round(iterations / 10))}",
        *(f"scheduler_cfg.{key}={scaled(keywords[key])}" for key in PER_ITERATION if key in keywords),
    ]


def plan(files: Mapping[str, Path], options: argparse.Namespace, work: Path, device: torch.device) -> dict[str, Path]:
    """Write the missing OUTPUT/NAME.yaml, with as many iterations as fit into the time."""
    plans = {name: options.output / f"{name}.yaml" for name in files}
    if all(path.is_file() for path in plans.values()):
        return plans
    options.output.mkdir(parents=True, exist_ok=True)
    settings = {name: overrides(name, path, options, work) for name, path in files.items()}
    configs = {name: load_config(path, settings[name], CHECKS) for name, path in files.items()}
    speeds = {name: Speed(config, device) for name, config in configs.items()}
    # CPU time is summed over threads.
    clock, threads = (time.perf_counter, 1) if device.type == "cuda" else (time.process_time, torch.get_num_threads())
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(1 + options.repeats):
        for name, speed in speeds.items():
            seconds[name].append(timed(speed.step, device, clock) / threads)
    for name, path in files.items():
        step = statistics.median(seconds[name][1:])
        # `auto` is decided by a measurement, and might differ in another process.
        half = resolve_precision(configs[name], device)
        precision = [f"{s}.enable_float16={getattr(half, s).enable_float16}" for s in ("trainer_cfg", "evaluator_cfg")]
        all_overrides = [
            *settings[name],
            *precision,
            *with_iterations(configs[name], max(2, round(options.minutes * 60 / step))),
        ]
        content: dict[str, Any] = {"base": str(path.resolve())}
        for override in all_overrides:
            content = merge(content, parse_override(override))
        head = f"# {options.minutes:g} minutes at {step:.4f} seconds a step, {threads} thread(s) on {device.type}.\n"
        write_atomically(plans[name], head + yaml.safe_dump(content, sort_keys=False))
        print(f"{plans[name]}: {content['trainer_cfg']['total_iter']} iterations at {step:.3f} s", flush=True)
    return plans


def multiply_adds(network: torch.nn.Module, size: Sequence[int], device: torch.device) -> int:
    """Count the multiply-adds for one sequence of silhouettes of a size (H, W)."""
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, FRAMES, *size, device=device))
    return counter.get_total_flops() // 2


def timed(work: Callable[[], Any], device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the seconds that a function takes."""
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


class Speed:
    """The training step and the embedding of a model, to be timed repeatedly."""

    def __init__(self, config: Config, device: torch.device) -> None:
        data = sources.open_data(config)
        self.device = device
        self.half = config.evaluator_cfg.enable_float16
        self.trainer = build_trainer(config, device)
        pair = sources.build_training_source(config, data, device, 0), sources.build_test_source(config, data, device)
        self.batch, self.probe = (next(iter(source.loader)).to(device) for source in pair)
        self.seconds: dict[str, list[float]] = {"training": [], "test": []}

    def size(self) -> Sequence[int]:
        """Return (H, W) of the silhouettes."""
        return tuple(self.batch.silhouettes.shape[2:])

    def step(self) -> None:
        """Take an optimiser step."""
        self.trainer.training_mode()
        self.trainer.step(self.batch)

    def once(self) -> None:
        """Time a step and a batch of the test."""
        self.seconds["training"].append(timed(self.step, self.device))
        self.trainer.network.eval()
        self.seconds["test"].append(timed(self._embed, self.device))

    def _embed(self) -> None:
        with torch.inference_mode(), half_precision(self.device, self.half):
            self.trainer.network(self.probe.scaled(), self.probe.lengths)

    def sequences_per_second(self, what: str) -> float:
        """Return the median over repeats, without the first one if there are more."""
        counted = self.batch if what == "training" else self.probe
        seconds = self.seconds[what][1:] or self.seconds[what]
        return len(counted.silhouettes) / statistics.median(seconds)


def markdown(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table."""
    head = ("parameters", "multiply-adds", "iterations", "training, sequences/s", "test, sequences/s")
    cells = [
        [
            name,
            *(f"{row[group]:.1f}" for group in GROUPS),
            f"{row['parameters'] / 1e6:.3f} M",
            f"{row['multiply_adds'] / 1e9:.2f} G",
            f"{row['iterations']:.0f}",
            f"{row['training']:.1f}",
            f"{row['test']:.1f}",
        ]
        for name, row in rows.items()
    ]
    return markdown_table(cells, ("model", *GROUPS, *head))


def compare(options: argparse.Namespace, work: Path, device: torch.device) -> dict[str, dict[str, float]]:
    """Train and test every model, and time them in turn."""
    files = configurations(options.configs)
    settings: dict[str, list[str]] = {name: [] for name in files}
    if options.minutes is not None:
        files = plan(files, options, work, device)
    else:
        for name, path in files.items():
            base = overrides(name, path, options, work)
            settings[name] = [
                *base,
                *with_iterations(load_config(path, base), 2 if options.quick else options.iterations),
            ]
    if options.output is not None:
        settings = {name: [*base, f"trainer_cfg.restore_hint={AUTO}"] for name, base in settings.items()}
    chosen = files if options.only is None else {options.only: files[options.only]}
    configs = {name: load_config(path, settings[name], CHECKS) for name, path in chosen.items()}
    rows: dict[str, dict[str, float]] = {}
    if options.plan:
        return rows
    for name, config in configs.items():
        train(config, device, options.output or work)
        if options.only is not None:
            continue
        result = run_test(config, device, options.output or work)
        assert result is not None
        rows[name] = {group: result.percentages[group]["rank-1"] for group in GROUPS}
        rows[name]["iterations"] = config.trainer_cfg.total_iter
    if options.only is not None:
        return rows
    speeds = {name: Speed(config, device) for name, config in configs.items()}
    for _ in range(options.repeats):
        for speed in speeds.values():
            speed.once()
    for name, speed in speeds.items():
        rows[name] |= {what: speed.sequences_per_second(what) for what in ("training", "test")}
        rows[name]["parameters"] = sum(p.numel() for p in speed.trainer.network.parameters())
        rows[name]["multiply_adds"] = multiply_adds(speed.trainer.network, speed.size(), device)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the models."""
    parser = argparse.ArgumentParser("compare_models.py", description="All models side by side under one schedule.")
    parser.add_argument("configs", nargs="*", metavar="NAME=FILE", help="configurations, instead of all models'")
    parser.add_argument("--quick", action="store_true", help="three people and two iterations, to see that it runs")
    parser.add_argument("--iterations", type=int, default=450, help="of each training (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="of each training, instead of iterations; needs --output")
    parser.add_argument("--plan", action="store_true", help="with --minutes: stop when OUTPUT/NAME.yaml are written")
    parser.add_argument("--only", metavar="NAME", help="stop when this one is trained; needs --output")
    parser.add_argument("--threads", type=int, metavar="N", help="of this process (default: as many as cores)")
    parser.add_argument("--repeats", type=int, default=7, help="of each timing (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="where the data are, if not where the configurations say")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep the runs there, and go on with those there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    options = parser.parse_args(arguments)
    if options.output is None and (options.minutes is not None or options.only is not None):
        parser.error("--minutes and --only need --output, where their runs are kept")
    if options.plan and options.minutes is None:
        parser.error("--plan needs --minutes")
    if options.only is not None and options.only not in configurations(options.configs):
        parser.error(f"--only {options.only}: no configuration has this name")
    with tempfile.TemporaryDirectory() as work, running(parser, options) as device:
        rows = compare(options, Path(work), device)
    if not rows:
        return 0
    print(markdown(rows), end="")
    if options.markdown is not None:
        options.markdown.write_text(markdown(rows))
    write_figures(options.json, {"models": rows}, device=device.type)
    return 0


if __name__ == "__main__":
    sys.exit(main())
