"""TensorBoard's files of a run, which continues without them if they cannot be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from dygait.config import Config
from dygait.logs import log


class TensorBoard:
    """A `SummaryWriter` that does nothing without a folder, or after the first OSError, for which it calls `on_error`.

    `first` is the number of completed iterations; events of later ones are hidden.
    """

    def __init__(self, folder: Path | None, on_error: Callable[[OSError], None], first: int = 0) -> None:
        self._writer: SummaryWriter | None = None
        self._on_error = on_error
        if folder is None:
            return
        try:
            self._writer = SummaryWriter(str(folder), purge_step=first + 1 if first else None)
        except OSError as error:
            on_error(error)

    def _write(self, write: Callable[[SummaryWriter], None]) -> None:
        try:
            if self._writer is not None:
                write(self._writer)
        except OSError as error:
            self._writer = None
            self._on_error(error)

    def config(self, config: Config) -> None:
        """Write the resolved configuration, and its main settings as hyperparameters."""
        text = yaml.safe_dump(config.as_dict(), sort_keys=False)
        hyperparameters = {
            "model": config.model_cfg.model,
            "solver": config.optimizer_cfg.solver,
            "lr": config.optimizer_cfg.lr,
            "scheduler": config.scheduler_cfg.scheduler,
            "batch_size": str(config.trainer_cfg.sampler.batch_size),
            "sample_type": config.trainer_cfg.sampler.sample_type,
            "total_iter": config.trainer_cfg.total_iter,
            "seed": config.trainer_cfg.seed,
        }

        def write(writer: SummaryWriter) -> None:
            writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()))
            assert writer.file_writer is not None
            for summary in hparams(hyperparameters, {"loss": 0.0}):
                writer.file_writer.add_summary(summary)

        self._write(write)

    def scalars(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write named numbers."""

        def write(writer: SummaryWriter) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, iteration)

        self._write(write)

    def silhouettes(self, iteration: int, silhouettes: torch.Tensor) -> None:
        """Write the first frames of a few sequences of a batch as one image, the maximum over channels."""
        if self._writer is None:
            return
        from torchvision.utils import make_grid  # importing it takes a second

        frames = silhouettes[:8, :10].cpu()
        frames = frames.amax(2) if frames.dim() == 5 else frames
        grid = make_grid(frames.flatten(0, 1)[:, None], nrow=frames.shape[1], padding=1, pad_value=64)
        self._write(lambda writer: writer.add_image("silhouettes", grid, iteration))

    def results(self, iteration: int, percentages: Mapping[str, Any], protocol: str) -> None:
        """Write the nested percentages of a test as `test <protocol>/<group> <metric>`."""
        values = {}
        for group, metrics in percentages.items():
            for metric, value in metrics.items():
                if isinstance(value, Mapping):
                    values.update({f"test {protocol} {metric}/{group} {view}": v for view, v in value.items()})
                else:
                    values[f"test {protocol}/{group} {metric}"] = value
        self.scalars(iteration, values)
        self._write(SummaryWriter.flush)

    def close(self) -> None:
        """Flush and close the files."""
        self._write(SummaryWriter.close)


def write_results(folder: Path, iteration: int, percentages: Mapping[str, Any], protocol: str) -> None:
    """Write the percentages of a test outside training to the TensorBoard files of a run."""

    def warn(error: OSError) -> None:
        log.info("notice: TensorBoard's files cannot be written (%s); the result is beside the checkpoint", error)

    tensorboard = TensorBoard(folder, warn)
    tensorboard.results(iteration, percentages, protocol)
    tensorboard.close()
