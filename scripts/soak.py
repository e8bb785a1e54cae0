"""Soak test: train a tiny model for a given time, and check that memory and open files stay constant.

    bash scripts/soak.sh 60                         # an hour of this, then the long form of the faults and the fuzzing
    python scripts/soak.py 60 --json FILE           # this alone

All parts of a run are active: two processes load data, checkpoints are written and old ones removed, tests and
their reports are made, TensorBoard is fed. Once a second the resident memory of the run's process and of its workers
and their open files are summed; of the second half of the samples, a straight line through memory over iterations
gives the slope. Time in which the run is stopped (SIGSTOP) does not count. It ends with code 1 if memory grows by 1 MB
in 1,000 iterations or more, or if there are more open files at the end than when the second half began. A few minutes
are a smoke test only: buffers and the pools of the allocator grow for some thousands of iterations.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

from common import ROOT, resident_memory, write_figures, write_sequence

LIMIT = 1.0
"""MB in 1,000 iterations."""
EVERY = 1.0
"""Seconds between samples."""
IDS, TYPES, VIEWS = tuple(f"{i:03d}" for i in range(1, 13)), ("nm-01", "nm-05", "bg-01", "cl-01"), ("000", "090")
TRAIN = IDS[:8]


@dataclass(frozen=True)
class Sample:
    """The state of a run at one time.

    Attributes:
        seconds: since the start, without times in which it was stopped.
        iteration: the last reported iteration.
        memory: resident memory of all processes in MB.
        files: open files of all processes.
        processes: number of processes.
    """

    seconds: float
    iteration: int
    memory: float
    files: int
    processes: int


def make_data(root: Path) -> None:
    """Write sequences of noisy bars, of a width for each id."""
    for number, person in enumerate(IDS):
        for kind in TYPES:
            for view in VIEWS:
                rng = np.random.default_rng((number, TYPES.index(kind), VIEWS.index(view)))
                frames = (rng.random((int(rng.integers(12, 30)), 32, 22)) < 0.02).astype(np.uint8) * 255
                frames[:, 4:28, 6 : 8 + number] = 255
                write_sequence(root, person, kind, view, frames)


def configure(folder: Path) -> Path:
    """Write data, partition and configuration of the run; returns the configuration."""
    make_data(folder / "data")
    (folder / "partition.json").write_text(json.dumps({"TRAIN_SET": TRAIN, "TEST_SET": IDS[len(TRAIN) :]}))
    transform = {"type": "BaseSilTransform"}
    settings = {
        "data_cfg": {
            "dataset_name": "CASIA-B", "dataset_root": str(folder / "data"),
            "dataset_partition": str(folder / "partition.json"), "num_workers": 2,
        },
        "model_cfg": {
            "model": "DyGait", "variant": "shallow", "channels": [4, 8, 8], "input_size": [32, 22], "bin_num": [4],
            "SeparateBNNecks": {"class_num": len(TRAIN), "in_channels": 8, "parts_num": 4},
        },
        "loss_cfg": [
            {"type": "TripletLoss", "margin": 0.2, "log_prefix": "triplet"},
            {"type": "CrossEntropyLoss", "scale": 16, "log_accuracy": True, "log_prefix": "softmax"},
        ],
        "optimizer_cfg": {"solver": "AdamW", "lr": 0.0001},
        "scheduler_cfg": {"scheduler": "MultiStepLR", "milestones": [10**7], "gamma": 0.5},
        "trainer_cfg": {
            "enable_float16": False, "total_iter": 10**8, "save_iter": 500, "log_iter": 20, "keep_last": 2,
            "with_test": True, "ema": 0.99, "save_name": "soak", "restore_hint": "auto", "transform": transform,
            "sampler": {"batch_size": [2, 2], "sample_type": "unfixed_ordered", "frames_num_min": 6,
                        "frames_num_max": 12},
        },
        "evaluator_cfg": {
            "save_name": "soak", "sampler": {"batch_size": 4, "sample_type": "all_ordered"}, "transform": transform,
        },
    }  # fmt: skip
    config = folder / "soak.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    return config


def family(process: int) -> list[int]:
    """Return a process and all of its descendants."""
    processes = [process]
    for pid in processes:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:  # it has just ended
            continue
        processes += [int(number) for number in children.split()]
    return processes


def sample_run(process: int, folder: Path, seconds: float) -> Sample | None:
    """Return a sample of a run; None while it starts, is stopped, or one of its processes starts or ends."""
    try:
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return None
        processes = family(process)
        memory = resident_memory(processes)
        files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in processes)  # noqa: PTH208 - only names are needed
        iteration = int(json.loads((folder / "logs" / "state.json").read_text())["iteration"])
    except (OSError, ValueError, KeyError):
        return None
    return Sample(seconds, iteration, memory, files, len(processes))


def summarise(samples: list[Sample]) -> dict[str, float]:
    """Return memory slope and open files of the second half of the samples."""
    half = [sample for sample in samples if sample.iteration >= samples[-1].iteration / 2]
    iterations = [sample.iteration for sample in half]
    if len(set(iterations)) < 3:
        raise SystemExit("error: the run was too short, or too slow: set more minutes")
    line = statistics.linear_regression(iterations, [sample.memory for sample in half])
    quarter = max(1, len(half) // 4)
    return {
        "iterations": samples[-1].iteration,
        "seconds": samples[-1].seconds,
        "samples": len(samples),
        "slope_mb_per_1000": 1000 * line.slope,
        "memory_start_mb": statistics.median(sample.memory for sample in half[:quarter]),
        "memory_end_mb": statistics.median(sample.memory for sample in half[-quarter:]),
        # Medians, because a checkpoint or a test has files open for a short time.
        "files_start": statistics.median(sample.files for sample in half[:quarter]),
        "files_end": statistics.median(sample.files for sample in half[-quarter:]),
        "processes": statistics.median(sample.processes for sample in half),
    }


def watch(minutes: float, folder: Path) -> list[Sample]:
    """Train for a time, and return a sample for each second in which the run was active."""
    command = [sys.executable, str(ROOT / "lib" / "main.py"), "--cfgs", str(configure(folder))]
    run = folder / "output" / "CASIA-B" / "DyGait" / "soak"
    samples: list[Sample] = []
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [*command, "--phase", "train", "--output", str(folder / "output")], stdout=output, stderr=output
        )
        try:
            seconds = 0.0
            while seconds < 60 * minutes and process.poll() is None:
                time.sleep(EVERY)
                sample = sample_run(process.pid, run, seconds)
                if sample is not None:
                    samples.append(sample)
                    seconds += EVERY
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=300)
        finally:
            process.kill()
    if code != 75 or not samples:
        raise SystemExit(
            f"error: the run ended with code {code}; its output:\n{(folder / 'output.txt').read_text()[-4000:]}"
        )
    return samples


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train for a time, and check memory and open files.")
    parser.add_argument("minutes", type=float, nargs="?", default=60.0, help="how long (default: 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    arguments = parser.parse_args()
    if not Path("/proc/self/statm").exists():
        raise SystemExit("error: memory is read from /proc, which this system has not")
    with tempfile.TemporaryDirectory(prefix="dygait-soak-") as folder:
        samples = watch(arguments.minutes, Path(folder))
    figures = summarise(samples)
    flat = figures["slope_mb_per_1000"] < LIMIT
    closed = figures["files_end"] <= figures["files_start"]
    print(
        f"{figures['iterations']} iterations in {figures['seconds'] / 60:.1f} min by {figures['processes']:.0f} "
        f"processes: memory {figures['memory_start_mb']:.1f} to {figures['memory_end_mb']:.1f} MB in the second half, "
        f"{figures['slope_mb_per_1000']:+.4f} MB per 1,000 iterations ({'flat' if flat else 'IT GROWS'}); "
        f"open files {figures['files_start']:.0f} to {figures['files_end']:.0f} ({'flat' if closed else 'THEY GROW'})"
    )
    if arguments.json is not None:
        thinned = [asdict(sample) for sample in samples[:: max(1, len(samples) // 300)]]
        write_figures(arguments.json, {"soak": figures, "samples": thinned}, cores=os.cpu_count())
    return 0 if flat and closed else 1


if __name__ == "__main__":
    sys.exit(main())
