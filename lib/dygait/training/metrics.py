"""The metrics of a training run: log lines, `logs/scalars.jsonl`, `logs/state.json` and TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping

import torch

from dygait import distributed
from dygait.config import Config
from dygait.files import write_atomically
from dygait.logs import duration, log
from dygait.machine import peak_memory
from dygait.runs.events import add_event, read_lines, write_state
from dygait.runs.folder import RunFolder, append_line, writing
from dygait.runs.tensorboard import TensorBoard

PICTURES_EVERY = 10
"""TensorBoard shows the silhouettes of the first logged iteration, and then of every tenth."""


class MetricsLogger:
    """Logs the metrics of a training run; ranks other than 0 do nothing.

    The run ends if `logs/scalars.jsonl` cannot be written; it continues without TensorBoard's files, which hold the
    same numbers. `first` is the number of completed iterations; entries of later ones are removed.
    """

    def __init__(self, folder: RunFolder, config: Config, first: int) -> None:
        self.folder = folder
        self.total = config.trainer_cfg.total_iter
        self.sequences = config.trainer_cfg.sampler.sequences
        self._log_iter = config.trainer_cfg.log_iter
        self._last = (time.perf_counter(), first)
        self.scalars = folder.logs / "scalars.jsonl"
        is_main = distributed.is_main()
        if is_main:
            self._remove_after(first)
        self.tensorboard = TensorBoard(folder.summary if is_main else None, self._without_tensorboard, first)
        if not first:
            self.tensorboard.config(config)

    def _without_tensorboard(self, error: OSError) -> None:
        log.info("notice: TensorBoard's files cannot be written (%s); the run continues without them", error)
        add_event(self.folder, "no TensorBoard", why=str(error))

    def _remove_after(self, first: int) -> None:
        if self.scalars.is_file():
            entries = [e for e in read_lines(self.scalars) if first and e.get("iteration", first + 1) <= first]
            with writing(self.folder):
                write_atomically(self.scalars, "".join(json.dumps(entry) + "\n" for entry in entries))

    def iteration(self, iteration: int, values: Mapping[str, float], silhouettes: torch.Tensor) -> None:
        """Log an iteration: `values` are its losses, learning rate and gradient norm, `silhouettes` its batch."""
        if not distributed.is_main():
            return
        now = time.perf_counter()
        last_time, last_iteration = self._last
        speed = (iteration - last_iteration) / max(now - last_time, 1e-9)
        sequences_per_second = speed * self.sequences
        self._last = (now, iteration)
        scalars = {name if "/" in name else f"train/{name}": value for name, value in values.items()}
        self.tensorboard.scalars(iteration, {**scalars, "speed/sequences_per_second": sequences_per_second})
        if iteration == self._log_iter or iteration % (PICTURES_EVERY * self._log_iter) == 0:
            self.tensorboard.silhouettes(iteration, silhouettes)
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        with writing(self.folder):
            append_line(self.scalars, {"iteration": iteration, **finite})
        write_state(
            self.folder, iteration, self.total, speed, sequences_per_second=sequences_per_second, memory=peak_memory(),
            gpu_memory=torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0,
        )  # fmt: skip
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info(
            "iteration %d/%d: %s; %.2f it/s, %.0f sequences/s, %s left",
            iteration, self.total, text, speed, sequences_per_second, duration((self.total - iteration) / speed),
        )  # fmt: skip

    def restart_clock(self, iteration: int) -> None:
        """Exclude the time since the last logged iteration (of a test, a checkpoint) from the speed."""
        self._last = (time.perf_counter(), iteration)
