"""Starting from a checkpoint: finding it, loading initial weights, and removing files of a killed process."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dygait import distributed
from dygait.errors import UserError
from dygait.logs import log
from dygait.runs import checkpoint_files, published
from dygait.runs.events import EVENTS, add_event, read_lines
from dygait.runs.folder import RunFolder, remove_unfinished
from dygait.training.trainer import Trainer

AUTO = "auto"
"""The restore_hint for the newest checkpoint of the run, if there is one."""


def find_checkpoint(hint: int | str, folder: RunFolder) -> Path | None:
    """Return the checkpoint of a restore_hint: of an iteration of this run, its newest undamaged one, or a path.

    Called by every process.

    Raises:
        UserError: the hint names published weights, or a file that does not exist.
    """
    if hint == AUTO:  # every process must continue from the same checkpoint
        on_damage = partial(_log_damaged, folder)
        newest = partial(checkpoint_files.newest_checkpoint, folder.checkpoints, folder.save_name, on_damage)
        return distributed.on_main(newest)
    if isinstance(hint, int):
        return checkpoint_files.checkpoint_path(folder.checkpoints, folder.save_name, hint) if hint else None
    path = published.locate(hint)
    if published.is_published(path):
        raise UserError(
            f"trainer_cfg.restore_hint: {hint} holds weights alone, and no training to resume; trainer_cfg.init_from "
            f"starts one from them"
        )
    return path


def _log_damaged(folder: RunFolder, path: Path, damage: str) -> None:
    log.info("notice: skipping a damaged checkpoint: %s", damage)
    add_event(folder, "damaged checkpoint", file=path.name, why=damage)


def remove_unfinished_files(folder: RunFolder) -> None:
    """Remove the unfinished files of a run that was killed, which would fill the disk."""
    removed = remove_unfinished(folder.checkpoints, folder.logs) if distributed.is_main() else []
    if removed:
        log.info("notice: removed unfinished files: %s", ", ".join(path.name for path in removed))
        add_event(folder, "unfinished files", files=[path.name for path in removed])


def lacks_test(folder: RunFolder, start: Path, trainer: Trainer) -> bool:
    """Return whether the run ended between saving the checkpoint `start` and finishing its test.

    Called by every process.
    """
    settings, iteration = trainer.config.trainer_cfg, trainer.iteration
    is_due = iteration == settings.total_iter or iteration % settings.save_iter == 0
    if not is_due or start.parent != folder.checkpoints:
        return False
    kinds = [event.get("kind") for event in read_lines(folder.logs / EVENTS) if event.get("iteration") == iteration]
    return distributed.broadcast_object("tested" not in kinds)


def load_initial_weights(trainer: Trainer, path: str) -> None:
    """Load the weights of a checkpoint, the averaged ones if it has them, or weights that ship with the package.

    A class head of another size keeps its initial values. Of an ensemble, a network that is none starts from the member
    of its `input_size`.

    Raises:
        UserError: the checkpoint does not fit.
    """
    strict, model_cfg = trainer.config.trainer_cfg.restore_ckpt_strict, trainer.config.model_cfg
    state = checkpoint_files.read_checkpoint(published.locate(path))
    if model_cfg.model != "Ensemble":
        for name, settings in published.members_of(state).items():
            if settings.get("input_size") == model_cfg.input_size:
                path = f"{path}/{name}"
                state = published.member_of(state, name, path)
                break
    weights = checkpoint_files.weights_of(state)
    report = checkpoint_files.load_state(trainer.network, weights, path, strict, reset_head=True)
    log.info("starting from the weights of %s: %s", path, report)
    if trainer.average is not None:
        trainer.average.network.load_state_dict(trainer.network.state_dict())
