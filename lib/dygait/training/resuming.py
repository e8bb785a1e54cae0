"""Starting from a checkpoint: which one a run continues from, what is restored, what an earlier process left behind."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from dygait import distributed
from dygait.errors import UserError
from dygait.logs import log
from dygait.runs import checkpoint
from dygait.runs.events import add_event, read_events
from dygait.runs.folder import RunFolder, remove_unfinished
from dygait.training import optimizers
from dygait.training.trainer import Trainer

AUTO = "auto"
"""The restore_hint that means the newest checkpoint of the run, if there is one."""


def find_checkpoint(hint: int | str, folder: RunFolder) -> Path | None:
    """Return the path that a restore_hint means: an iteration of this run, its newest undamaged checkpoint, or a path.

    Called by every process.
    """
    if hint == AUTO:
        # Every process must continue from the same checkpoint, so rank 0 chooses it.
        newest = None
        if distributed.is_main():
            newest = checkpoint.newest_checkpoint(folder.checkpoints, folder.save_name, partial(_log_damaged, folder))
        return distributed.broadcast_object(newest)
    if isinstance(hint, int):
        return checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, hint) if hint else None
    return Path(hint)


def _log_damaged(folder: RunFolder, path: Path, damage: str) -> None:
    log.info("notice: skipping a damaged checkpoint: %s", damage)
    add_event(folder, "passed over", file=path.name, why=damage)


def remove_unfinished_files(folder: RunFolder) -> None:
    """Remove the unfinished files of a run that was killed: they would fill the disk."""
    removed = remove_unfinished(folder.checkpoints, folder.logs) if distributed.is_main() else []
    if removed:
        log.info("notice: removed unfinished files: %s", ", ".join(path.name for path in removed))
        add_event(folder, "tidied", files=[path.name for path in removed])


def lacks_test(folder: RunFolder, start: Path, trainer: Trainer) -> bool:
    """Return whether the run ended between saving the checkpoint `start` and finishing its test.

    Called by every process.
    """
    settings, iteration = trainer.config.trainer_cfg, trainer.iteration
    is_due = iteration == settings.total_iter or iteration % settings.save_iter == 0
    if not is_due or start.parent != folder.checkpoints:
        return False
    kinds = [event.get("kind") for event in read_events(folder.logs) if event.get("iteration") == iteration]
    return distributed.broadcast_object("tested" not in kinds)


def load_initial_weights(trainer: Trainer, path: str) -> None:
    """Load the weights of a checkpoint; a class head of another size keeps its initial values.

    Raises:
        UserError: the checkpoint does not fit.
    """
    strict = trainer.config.trainer_cfg.restore_ckpt_strict
    report = checkpoint.load_weights(trainer.network, path, strict, reset_head=True)
    log.info("starting from the weights of %s: %s", path, report)
    if trainer.average is not None:
        trainer.average.network.load_state_dict(trainer.network.state_dict())


def restore(trainer: Trainer, path: Path, state: dict[str, Any]) -> None:
    """Restore the state that a checkpoint holds, apart from what the configuration resets.

    Raises:
        UserError: the checkpoint does not fit.
    """
    settings, solver = trainer.config.trainer_cfg, trainer.config.optimizer_cfg.solver
    report = checkpoint.load_state(trainer.network, state["model"], str(path), settings.restore_ckpt_strict)
    log.info("restored %s: %s", path, report)
    _restore_average(trainer, state, str(path))
    keeps_optimizer = not settings.optimizer_reset
    if keeps_optimizer and (report.opengait or not report.complete):
        log.info("notice: the optimiser is reset: its state in the checkpoint belongs to other weights")
        keeps_optimizer = False
    try:
        if keeps_optimizer:
            written = state["config"]["optimizer_cfg"]["solver"]
            if written != solver:
                raise ValueError(f"it was written with {written}, this is {solver}")
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
    # If only one of optimiser and scheduler is reset, the learning rate is the scheduler's.
    rates = zip(trainer.scheduler.get_last_lr(), trainer.scheduler.base_lrs, strict=True)
    for group, (rate, first) in zip(trainer.optimizer.param_groups, rates, strict=True):
        group.update(lr=rate, initial_lr=first)
    if settings.seed != state.get("seed", settings.seed):
        log.info("the checkpoint was trained with seed %s; continuing with %s", state["seed"], settings.seed)


def _restore_average(trainer: Trainer, state: dict[str, Any], source: str) -> None:
    """Restore the averaged weights of a checkpoint, or start the average from its weights."""
    held = state.get("ema")
    if trainer.average is None:
        if held is not None:
            log.info("notice: the averaged weights of the checkpoint are ignored; set trainer_cfg.ema to use them")
    elif held is None:
        log.info("notice: the checkpoint holds no averaged weights; the average starts from its weights")
        trainer.average.network.load_state_dict(trainer.network.state_dict())
    else:
        strict = trainer.config.trainer_cfg.restore_ckpt_strict
        checkpoint.load_state(trainer.average.network, held, source, strict)
