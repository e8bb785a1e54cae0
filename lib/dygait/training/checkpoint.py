"""Saving, removing and restoring the checkpoints of a training run; `runs.checkpoint_files` reads and writes files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dygait
from dygait import distributed
from dygait.errors import UserError
from dygait.logs import log
from dygait.runs import checkpoint_files
from dygait.runs.events import add_event
from dygait.runs.folder import RunFolder
from dygait.training import optimizers
from dygait.training.guard import log_skipped_steps
from dygait.training.trainer import Trainer


def state(trainer: Trainer) -> dict[str, Any]:
    """Return the content of a checkpoint, tensors and plain values only; `restore` is the inverse."""
    return {
        "model": trainer.network.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": trainer.scheduler.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        **({} if trainer.average is None else {"ema": trainer.average.network.state_dict()}),
        "guard": trainer.guard.state(),
        "iteration": trainer.iteration,
        "seed": trainer.config.trainer_cfg.seed,
        "config": trainer.config.as_dict(),
        "version": dygait.__version__,
    }


def save(trainer: Trainer, folder: RunFolder) -> None:
    """Write a checkpoint, on rank 0, and remove old ones according to `keep_last`. Called by every process.

    Raises:
        UserError: it cannot be written; earlier checkpoints are kept.
    """
    for network in (trainer.network, trainer.tested_network):  # the running statistics of processes differ
        distributed.broadcast_tensors(network.buffers())
    log_skipped_steps(trainer.guard, folder)
    distributed.on_main(lambda: _write(trainer, folder))


def _write(trainer: Trainer, folder: RunFolder) -> None:
    settings, iteration = trainer.config.trainer_cfg, trainer.iteration
    path = checkpoint_files.checkpoint_path(folder.checkpoints, folder.save_name, iteration)
    try:
        checkpoint_files.save_checkpoint(path, state(trainer))
        log.info("saved %s", path)
        removed = remove_old(folder.checkpoints, folder.save_name, settings.keep_last, settings.keep_every, iteration)
        add_event(folder, "saved", iteration=iteration, removed=[p.name for p in removed])
    except OSError as error:
        newest = checkpoint_files.newest_checkpoint(folder.checkpoints, folder.save_name)
        raise UserError(
            f"the checkpoint {path} cannot be written: {error}; free disk space, or set trainer_cfg.keep_last, and "
            f"continue with --resume from {newest.name if newest else 'the start'}"
        ) from None


def remove_old(folder: Path, save_name: str, last: int | None, every: int | None, now: int) -> list[Path]:
    """Delete old checkpoints of a run, and return their paths.

    Args:
        last: how many of the newest to keep; None: all.
        every: also keep those of iterations that this divides.
        now: the iteration that was just saved; later checkpoints, of an earlier run, are ignored.
    """
    if last is None:
        return []
    checkpoints = [(i, path) for i, path in checkpoint_files.checkpoints_of(folder, save_name).items() if i <= now]
    old = [path for i, path in checkpoints[last:] if every is None or i % every]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def restore(trainer: Trainer, path: Path, state: dict[str, Any]) -> None:
    """Restore the state of a checkpoint, except for parts that the configuration resets.

    With `restore_ckpt_strict: false`, a checkpoint that lacks weights of the network is taken for that of another
    network, such as a pre-trained one: only its weights are restored, and the run starts at iteration 0.

    Raises:
        UserError: the checkpoint does not fit.
    """
    settings, solver = trainer.config.trainer_cfg, trainer.config.optimizer_cfg.solver
    report = checkpoint_files.load_state(trainer.network, state["model"], str(path), settings.restore_ckpt_strict)
    log.info("restored %s: %s", path, report)
    _restore_average(trainer, state, str(path))
    if report.missing:
        log.info("notice: the checkpoint is another network's: the run starts at iteration 0, from its weights")
        return
    restores_optimizer = not settings.optimizer_reset
    if restores_optimizer and (report.opengait or not report.complete):
        log.info("notice: the optimiser is reset: its state in the checkpoint belongs to other weights")
        restores_optimizer = False
    try:
        if restores_optimizer:
            saved_solver = state["config"]["optimizer_cfg"]["solver"]
            if saved_solver != solver:
                raise ValueError(f"it was written with {saved_solver}, this is {solver}")
            optimizers.restore_optimizer(trainer.optimizer, state["optimizer"])
        if not settings.scheduler_reset:
            trainer.scheduler.load_state_dict(state["scheduler"])
        if state.get("scaler"):
            trainer.scaler.load_state_dict(state["scaler"])
        if "guard" in state:
            trainer.guard.restore(state["guard"])
        trainer.iteration = int(state["iteration"])
        trainer.resumed = trainer.iteration > 0
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"the checkpoint {path} does not fit the optimiser or scheduler ({error}); "
            f"optimizer_reset and scheduler_reset reset them"
        ) from None
    # If only one of optimiser and scheduler is reset, the scheduler decides the learning rate.
    rates = zip(trainer.scheduler.get_last_lr(), trainer.scheduler.base_lrs, strict=True)
    for group, (rate, initial_rate) in zip(trainer.optimizer.param_groups, rates, strict=True):
        group.update(lr=rate, initial_lr=initial_rate)
    if settings.seed != state.get("seed", settings.seed):
        log.info("the checkpoint was trained with seed %s; continuing with %s", state["seed"], settings.seed)


def _restore_average(trainer: Trainer, state: dict[str, Any], source: str) -> None:
    """Restore the averaged weights of a checkpoint, or start the average from its weights."""
    averaged = state.get("ema")
    if trainer.average is None:
        if averaged is not None:
            log.info("notice: the averaged weights of the checkpoint are ignored; set trainer_cfg.ema to use them")
    elif averaged is None:
        log.info("notice: the checkpoint holds no averaged weights; the average starts from its weights")
        trainer.average.network.load_state_dict(trainer.network.state_dict())
    else:
        strict = trainer.config.trainer_cfg.restore_ckpt_strict
        checkpoint_files.load_state(trainer.average.network, averaged, source, strict)
