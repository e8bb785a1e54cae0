"""Saving checkpoints during training."""

from __future__ import annotations

from dygait import distributed
from dygait.errors import UserError
from dygait.logs import log
from dygait.runs import checkpoint_files
from dygait.runs.events import add_event
from dygait.runs.folder import RunFolder
from dygait.training.checkpoint import state
from dygait.training.guard import log_skipped_steps
from dygait.training.trainer import Trainer


def save(trainer: Trainer, folder: RunFolder) -> None:
    """Write a checkpoint, on rank 0, and remove those that `keep_last` does not keep. Called by every process.

    Raises:
        UserError: it cannot be written; earlier checkpoints stay.
    """
    for network in (trainer.network, trainer.tested_network):  # each process has running statistics of its own
        distributed.broadcast_tensors(network.buffers())
    log_skipped_steps(trainer.guard, folder)
    distributed.on_main(lambda: _write(trainer, folder))


def _write(trainer: Trainer, folder: RunFolder) -> None:
    settings, iteration = trainer.config.trainer_cfg, trainer.iteration
    path = checkpoint_files.checkpoint_path(folder.checkpoints, folder.save_name, iteration)
    try:
        checkpoint_files.save_checkpoint(path, state(trainer))
        log.info("saved %s", path)
        removed = checkpoint_files.remove_old(
            folder.checkpoints, folder.save_name, settings.keep_last, settings.keep_every, iteration
        )
        add_event(folder, "saved", iteration=iteration, removed=[p.name for p in removed])
    except OSError as error:
        newest = checkpoint_files.newest_checkpoint(folder.checkpoints, folder.save_name)
        raise UserError(
            f"the checkpoint {path} cannot be written: {error}; free disk space, or set trainer_cfg.keep_last, and "
            f"continue with --resume from {newest.name if newest else 'the start'}"
        ) from None
