"""What a run tells while it goes: log lines, a bar, TensorBoard, and a file of scalars."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from dygait import distributed
from dygait.config import Config
from dygait.files import write_atomically
from dygait.machine import peak_memory
from dygait.runs.events import add_event, read_lines, write_state
from dygait.runs.folder import RunFolder, append_line, writing
from dygait.untrusted import printable

T = TypeVar("T")

log = logging.getLogger("dygait")


class _TqdmHandler(logging.StreamHandler):
    """Log lines that do not tear a bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(printable(self.format(record)), file=sys.stdout)
        sys.stdout.flush()


def start_logging(folder: RunFolder | None = None, phase: str = "", to_file: bool = False) -> None:
    """Send log lines of rank 0 to the terminal and, where asked, to a file in the run's folder; others are silent."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = False
    log.setLevel(logging.INFO if distributed.is_main() else logging.ERROR)
    if not distributed.is_main():
        return
    handlers: list[logging.Handler] = [_TqdmHandler()]
    if to_file and folder is not None:
        name = f"{phase}-{datetime.now():%Y%m%d-%H%M%S}.txt"
        handlers.append(logging.FileHandler(folder.logs / name, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("[%(asctime)s] %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)


def progress(items: Iterable[T], total: int, what: str, initial: int = 0) -> Iterable[T]:
    """Wrap an iterable in a bar, on rank 0 and on a terminal only."""
    hidden = not (distributed.is_main() and sys.stderr.isatty())
    return tqdm(items, total=total, initial=initial, desc=what, disable=hidden, dynamic_ncols=True, leave=False)


def progress_bar(total: int, what: str, unit: str) -> tqdm[Any]:
    """Return a bar that is moved on by hand, with the time that is left; on rank 0 and on a terminal only."""
    hidden = not (distributed.is_main() and sys.stderr.isatty())
    return tqdm(total=total, desc=what, unit=unit, disable=hidden, dynamic_ncols=True, leave=False)


def duration(seconds: float) -> str:
    """Write a number of seconds as people do: `1 h 05 min`, `3 min 10 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class Monitor:
    """Log, scalars and TensorBoard of a training run; on ranks other than 0 it does nothing.

    A run goes on without TensorBoard where its files cannot be written, and says so; the same numbers are in
    ``logs/scalars.jsonl``, without which it does not go on.

    Args:
        folder: the run's folder.
        config: the run's configuration.
        first: how many iterations have been done: what was written about later ones is dropped.
    """

    def __init__(self, folder: RunFolder, config: Config, first: int) -> None:
        self.writer: SummaryWriter | None = None
        self.folder = folder
        self.total = config.trainer_cfg.total_iter
        self.sequences = config.trainer_cfg.sampler.sequences
        self._mark = (time.perf_counter(), first)
        if not distributed.is_main():
            return
        self.scalars = folder.logs / "scalars.jsonl"
        self._drop_after(first)
        with self._or_without():
            self.writer = SummaryWriter(str(folder.summary), purge_step=first + 1 if first else None)
            if not first:
                text = yaml.safe_dump(config.as_dict(), sort_keys=False)
                self.writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()))
                self._hyperparameters(config)

    @contextlib.contextmanager
    def _or_without(self) -> Iterator[None]:
        """Go on without TensorBoard if it cannot be written within a `with` block."""
        try:
            yield
        except OSError as error:
            self.writer = None
            log.info("notice: TensorBoard's files cannot be written (%s); the run goes on without them", error)
            add_event(self.folder, "no TensorBoard", why=str(error))

    def _drop_after(self, first: int) -> None:
        if self.scalars.is_file():
            kept = [entry for entry in read_lines(self.scalars) if first and entry.get("iteration", first + 1) <= first]
            with writing(self.folder):
                write_atomically(self.scalars, "".join(json.dumps(entry) + "\n" for entry in kept))

    def _hyperparameters(self, config: Config) -> None:
        assert self.writer is not None
        assert self.writer.file_writer is not None
        flat = {
            "model": config.model_cfg.model,
            "solver": config.optimizer_cfg.solver,
            "lr": config.optimizer_cfg.lr,
            "scheduler": config.scheduler_cfg.scheduler,
            "batch_size": str(config.trainer_cfg.sampler.batch_size),
            "sample_type": config.trainer_cfg.sampler.sample_type,
            "total_iter": config.trainer_cfg.total_iter,
            "seed": config.trainer_cfg.seed,
        }
        for part in hparams(flat, {"loss": 0.0}):
            self.writer.file_writer.add_summary(part)

    def training(self, iteration: int, values: Mapping[str, float]) -> None:
        """Report an iteration: `values` holds loss terms, learning rate and gradient norm."""
        if not distributed.is_main():
            return
        now = time.perf_counter()
        since, done = self._mark
        speed = (iteration - done) / max(now - since, 1e-9)
        self._mark = (now, iteration)
        with self._or_without():
            if self.writer is not None:
                for name, value in values.items():
                    self.writer.add_scalar(name if "/" in name else f"train/{name}", value, iteration)
                self.writer.add_scalar("speed/sequences_per_second", speed * self.sequences, iteration)
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with writing(self.folder):
            append_line(self.scalars, {"iteration": iteration, **finite})
        write_state(
            self.folder, "training", iteration, self.total, speed,
            sequences_per_second=speed * self.sequences, memory=peak_memory(),
            gpu_memory=torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0,
        )  # fmt: skip
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info(
            "iteration %d/%d: %s; %.2f it/s, %.0f sequences/s, %s left",
            iteration, self.total, shown, speed, speed * self.sequences, duration((self.total - iteration) / speed),
        )  # fmt: skip

    def paused(self, iteration: int) -> None:
        """Leave what happened since the last report (a test, a checkpoint) out of the speed."""
        self._mark = (time.perf_counter(), iteration)

    def images(self, iteration: int, silhouettes: torch.Tensor) -> None:
        """Show the first frames of a few sequences: uint8 (N, S, H, W)."""
        if self.writer is None:
            return
        from torchvision.utils import make_grid  # takes a second: only where it is used

        some = silhouettes[:8, :10].cpu()
        grid = make_grid(some.flatten(0, 1)[:, None], nrow=some.shape[1], padding=1, pad_value=64)
        with self._or_without():
            self.writer.add_image("silhouettes", grid, iteration)

    def results(self, iteration: int, percentages: Mapping[str, Any], name: str) -> None:
        """Report a test: every leaf of the nested percentages."""
        with self._or_without():
            if self.writer is not None:
                add_results(self.writer, iteration, percentages, name)
                self.writer.flush()

    def close(self) -> None:
        """Write out what is buffered."""
        with self._or_without():
            if self.writer is not None:
                self.writer.close()


def add_results(writer: SummaryWriter, iteration: int, percentages: Mapping[str, Any], name: str) -> None:
    """Write nested percentages to TensorBoard as `test <protocol>/<group> <metric>`."""
    for group, metrics in percentages.items():
        for metric, value in metrics.items():
            if isinstance(value, Mapping):
                for view, percent in value.items():
                    writer.add_scalar(f"test {name} {metric}/{group} {view}", percent, iteration)
            else:
                writer.add_scalar(f"test {name}/{group} {metric}", value, iteration)


def report_results(folder: Path, iteration: int, percentages: Mapping[str, Any], name: str) -> None:
    """Write a test's percentages to a run's TensorBoard files, outside training, if they can be written."""
    try:
        with SummaryWriter(str(folder)) as writer:
            add_results(writer, iteration, percentages, name)
    except OSError as error:
        log.info("notice: TensorBoard's files cannot be written (%s); the result is beside the checkpoint", error)
