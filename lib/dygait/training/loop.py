"""The training loop."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import torch

from dygait import distributed
from dygait.config import Config
from dygait.data.collate import Batch
from dygait.data.loader import batches, working
from dygait.errors import Interrupted
from dygait.logs import log, progress, start_logging
from dygait.runs.events import add_event, recorded_end
from dygait.runs.folder import RunFolder, run_folder
from dygait.runs.memory import explained_memory
from dygait.runs.signals import Interruption, name_of
from dygait.training.checkpoint import save
from dygait.training.guard import log_skipped_steps, stop_if_all_skipped
from dygait.training.periodic_test import run_test
from dygait.training.setup import TrainingRun, set_up

# The schedule is a function of the iteration, even if the loss scaler skips the first step.
warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")


def train(config: Config, device: torch.device, output: str | Path = "output", log_to_file: bool = False) -> RunFolder:
    """Train according to a configuration, and return the run's folder, which is created in `output`.

    Raises:
        UserError: the data or a checkpoint is invalid, disk or memory is full, or too many gradients in a row are not
            finite.
        Interrupted: a signal ended the run, after a checkpoint was saved.
    """
    folder = run_folder(output, config, config.trainer_cfg.save_name)
    distributed.main_first(folder.create)
    start_logging(folder.logs if log_to_file else None, "train")
    distributed.on_hang(lambda why: add_event(folder, "failed", why=why))
    with Interruption() as interruption, recorded_end(folder):
        run = set_up(config, device, folder)
        with working(), contextlib.closing(run.metrics.tensorboard):
            _train(run, interruption)
    add_event(folder, "finished", iteration=run.trainer.iteration)
    log.info("finished after iteration %d; checkpoints in %s", run.trainer.iteration, folder.checkpoints)
    return folder


def _train(run: TrainingRun, interruption: Interruption) -> None:
    trainer, settings = run.trainer, run.trainer.config.trainer_cfg
    if run.test_is_missing:
        run_test(run, interruption)
        run.metrics.restart_clock(trainer.iteration)
    trainer.training_mode()
    for batch in progress(batches(run.source.loader), settings.total_iter, "training", trainer.iteration):
        _iteration(run, batch)
        distributed.set_progress(f"the end of iteration {trainer.iteration}")
        stop, last = interruption.should_stop(), trainer.iteration == settings.total_iter
        if stop or last or trainer.iteration % settings.save_iter == 0:
            save(trainer, run.folder)
            if run.test_source is not None and not stop:
                run_test(run, interruption)
                trainer.training_mode()
            run.metrics.restart_clock(trainer.iteration)
        if stop and (not last or run.test_source is not None):
            raise Interrupted(
                f"{name_of(interruption.signal)}: saved iteration {trainer.iteration} of {settings.total_iter}; "
                f"continue with --resume"
            )
        distributed.set_progress(f"reading the batch of iteration {trainer.iteration + 1}")


def _iteration(run: TrainingRun, batch: Batch) -> None:
    """Take a step, and log it every `log_iter` iterations; only then is the device synchronised."""
    trainer, settings = run.trainer, run.trainer.config.trainer_cfg
    distributed.set_progress(f"iteration {trainer.iteration + 1}")
    lr = float(trainer.scheduler.get_last_lr()[0])
    remedy = (
        f"set trainer_cfg.accumulate to {2 * settings.accumulate}, or lower trainer_cfg.sampler.batch_size or "
        f"frames_num_fixed"
    )
    with explained_memory(batch, remedy):
        statistics = trainer.step(batch)
    iteration = trainer.iteration
    is_logged = iteration == settings.total_iter or iteration % settings.log_iter == 0
    if is_logged or trainer.guard.may_reach(settings.max_skipped):
        log_skipped_steps(trainer.guard, run.folder)
    stop_if_all_skipped(trainer, run.folder, batch, run.source)
    if is_logged:
        values = distributed.mean_over_processes({k: float(v) for k, v in statistics.items()}, trainer.device)
        run.metrics.iteration(iteration, {**values, "lr": lr}, batch.silhouettes)
