"""All models side by side on the synthetic walkers: small networks, one schedule, one table.

    python scripts/compare_models.py                       # the data is made first where it is missing; an hour or so
    python scripts/compare_models.py --quick               # three people, two iterations, to see that it runs
    python scripts/compare_models.py --iterations 900 --json FILE --markdown FILE
    python scripts/compare_models.py DyGait=configs/Dygait_SynGait.yaml Mine=mine.yaml

Each configuration is trained and tested by the runner's own functions. Rank-1 is CASIA-B's, identical view excluded.
Multiply-adds are those of the convolutions and matrix products that are carried out for one sequence of 30 frames.
Speeds are medians of repeats that go round the models, in sequences a second, of the network with what belongs to it:
an optimiser step on a batch that is loaded, and the embeddings of a batch as the test makes it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dygait import cli, distributed
from dygait.config import Config, load_config
from dygait.engine import build
from dygait.engine.precision import half_precision
from dygait.engine.test import test
from dygait.engine.train import build_trainer, train

ROOT = Path(__file__).resolve().parents[1]
MODELS = {
    "GaitSet": "GaitSet", "GaitPart": "GaitPart", "GaitGL": "GaitGL", "GaitBase": "GaitBase",
    "DeepGaitV2": "DeepGaitV2", "DyGait": "Dygait",
}  # fmt: skip
GROUPS = ("NM", "BG", "CL")
FRAMES = 30


def configurations(named: Sequence[str]) -> dict[str, Path]:
    """Return the configurations to compare by name: those given as NAME=FILE, or the six models'."""
    if not named:
        return {name: ROOT / "configs" / f"{stem}_SynGait.yaml" for name, stem in MODELS.items()}
    return {name: Path(path) for name, _, path in (text.partition("=") for text in named)}


def make_data(folder: Path, quick: bool) -> None:
    """Make the synthetic walkers where they are missing."""
    size = ["--train-ids", "2", "--test-ids", "1", "--frames", "5", "6"] if quick else ["--preset", "quick"]
    if not (folder / "SynGait.json").is_file() and cli.main(["synth", "--output", str(folder), *size]):
        raise SystemExit(f"the walkers could not be made in {folder}")


def overrides(data: Path, iterations: int, quick: bool) -> list[str]:
    """Return what every configuration has alike."""
    common = [
        f"data_cfg.dataset_root={data}",
        f"data_cfg.dataset_partition={data / 'SynGait.json'}",
        f"trainer_cfg.total_iter={iterations}",
        f"trainer_cfg.save_iter={iterations}",
        f"scheduler_cfg.total_steps={iterations}",
        "evaluator_cfg.baseline=null",
    ]
    return (
        [
            *common,
            "data_cfg.num_workers=0",
            "trainer_cfg.sampler.batch_size=[2,2]",
            "trainer_cfg.sampler.frames_num_fixed=6",
        ]
        if quick
        else common
    )


def multiply_adds(network: torch.nn.Module, size: Sequence[int], device: torch.device) -> int:
    """Count the multiply-adds for one sequence of silhouettes of a size (H, W)."""
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, FRAMES, *size, device=device))
    return counter.get_total_flops() // 2


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of a piece of work."""
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Speed:
    """One model's batches, to be timed again and again."""

    def __init__(self, config: Config, device: torch.device) -> None:
        data = build.open_data(config)
        self.device = device
        self.half = config.evaluator_cfg.enable_float16
        self.trainer = build_trainer(config, device)
        self.training, self.testing = (
            build.training_source(config, data, device, 0), build.test_source(config, data, device),
        )  # fmt: skip
        self.batch, self.probe = (next(iter(s.loader)).to(device) for s in (self.training, self.testing))
        self.seconds: dict[str, list[float]] = {"training": [], "test": []}

    def size(self) -> Sequence[int]:
        """Return (H, W) of the silhouettes."""
        return tuple(self.batch.silhouettes.shape[2:])

    def once(self) -> None:
        """Time a step and a batch of the test."""
        self.trainer.training_mode()
        self.seconds["training"].append(
            timed(lambda: self.trainer.step(self.batch, self.training.divisors), self.device)
        )
        self.trainer.network.eval()
        self.seconds["test"].append(timed(self._embed, self.device))

    def _embed(self) -> None:
        with torch.inference_mode(), half_precision(self.device, self.half):
            self.trainer.network(self.probe.scaled(self.testing.divisors), self.probe.lengths)

    def sequences_per_second(self, what: str) -> float:
        """Return the median, the first repeat left out where there are more."""
        counted = self.batch if what == "training" else self.probe
        seconds = self.seconds[what][1:] or self.seconds[what]
        return len(counted.silhouettes) / statistics.median(seconds)


def markdown(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table."""
    lines = [
        "| model | NM | BG | CL | parameters | multiply-adds | training, sequences/s | test, sequences/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        ranks = " | ".join(f"{row[group]:.1f}" for group in GROUPS)
        lines.append(
            f"| {name} | {ranks} | {row['parameters'] / 1e6:.3f} M | {row['multiply_adds'] / 1e9:.2f} G | "
            f"{row['training']:.1f} | {row['test']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def compare(options: argparse.Namespace, work: Path, device: torch.device) -> dict[str, dict[str, float]]:
    """Train and test every model, and time them in turn."""
    data = work / "data" if options.quick else options.data
    make_data(data, options.quick)
    iterations = 2 if options.quick else options.iterations
    checks = [partial(build.component_problems, phase=phase) for phase in ("train", "test")]
    settings = overrides(data.resolve(), iterations, options.quick)
    configs = {name: load_config(path, settings, checks) for name, path in configurations(options.configs).items()}
    rows: dict[str, dict[str, float]] = {}
    for name, config in configs.items():
        train(config, device, options.output or work)
        result = test(config, device, options.output or work)
        assert result is not None
        rows[name] = {group: result.percentages[group]["rank-1"] for group in GROUPS}
    speeds = {name: Speed(config, device) for name, config in configs.items()}
    for _ in range(options.repeats):
        for speed in speeds.values():
            speed.once()
    for name, speed in speeds.items():
        rows[name] |= {what: speed.sequences_per_second(what) for what in ("training", "test")}
        rows[name]["parameters"] = sum(p.numel() for p in speed.trainer.network.parameters())
        rows[name]["multiply_adds"] = multiply_adds(speed.trainer.network, speed.size(), device)
    return rows


def main() -> int:
    """Compare the models."""
    parser = argparse.ArgumentParser(description="All models side by side on the synthetic walkers.")
    parser.add_argument("configs", nargs="*", metavar="NAME=FILE", help="configurations, instead of the six models'")
    parser.add_argument("--quick", action="store_true", help="three people and two iterations, to see that it runs")
    parser.add_argument("--iterations", type=int, default=450, help="of each training (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="of each timing (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=ROOT / "datasets" / "SynGait" / "data", help="the walkers")
    parser.add_argument("--output", type=Path, metavar="DIR", help="keep the runs there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, distributed.process_group() as device:
        rows = compare(options, Path(work), device)
    print(markdown(rows), end="")
    if options.markdown is not None:
        options.markdown.write_text(markdown(rows))
    if options.json is not None:
        environment = {
            "processor": platform.processor() or platform.machine(),
            "device": device.type,
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        options.json.write_text(json.dumps({"models": rows, "environment": environment}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
