"""The training loop."""

from __future__ import annotations

import contextlib
import os
import warnings
from functools import partial
from pathlib import Path

import torch

from dygait import distributed
from dygait.config import Config
from dygait.config.schema import TrainerCfg
from dygait.data import Batch, batches, working
from dygait.errors import Interrupted, LocalError, UserError
from dygait.machine import tune_allocator
from dygait.runs import checkpoint, networks, sources
from dygait.runs.events import add_event, read_events
from dygait.runs.folder import RunFolder, record, remove_unfinished, run_folder
from dygait.runs.memory import explained_memory
from dygait.runs.monitor import Monitor, log, progress, start_logging
from dygait.runs.precision import settled
from dygait.runs.signals import Interruption, name_of
from dygait.testing.scoring import check_protocol, test_model
from dygait.training.bad_batch import save_bad_batch
from dygait.training.trainer import Trainer, build_trainer

AUTO = "auto"
"""The restore_hint that means: from where this run is."""
# The schedule is a function of the iteration, also when the loss scaler skips the very first step.
warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")


def checkpoint_of(hint: int | str, folder: RunFolder) -> Path | None:
    """Return the path that a restore_hint means: an iteration of this run, its newest whole checkpoint, or a path."""
    if hint == AUTO:
        # Every process must go on from the same one: rank 0 looks.
        found = None
        if distributed.is_main():
            found = checkpoint.newest_checkpoint(folder.checkpoints, folder.save_name, partial(_passed_over, folder))
        return distributed.agree(found)
    if isinstance(hint, int):
        return checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, hint) if hint else None
    return Path(hint)


def _passed_over(folder: RunFolder, path: Path, damage: str) -> None:
    log.info("notice: the checkpoint %s is damaged (%s) and is passed over", path, damage)
    add_event(folder, "passed over", file=path.name, why=damage)


def _tidy(folder: RunFolder) -> None:
    """Delete what a run that was killed has left half-written: a disk would fill with it."""
    left = remove_unfinished(folder.checkpoints, folder.logs) if distributed.is_main() else []
    if left:
        log.info("notice: removed what was half-written: %s", ", ".join(path.name for path in left))
        add_event(folder, "tidied", files=[path.name for path in left])


def train(config: Config, device: torch.device, output: str | Path = "output", log_to_file: bool = False) -> RunFolder:
    """Train a configuration to its last iteration.

    Args:
        config: the experiment.
        device: where to compute, as `distributed.process_group` gives it.
        output: the folder that the run's folder is made in.
        log_to_file: write the log lines to a file too.

    Returns:
        The run's folder.

    Raises:
        UserError: the data, a checkpoint, the machine (no room, no memory) or a row of gradients that are not finite
            does not allow it.
        Interrupted: a signal asked the run to end; what was done is saved.
    """
    folder = run_folder(output, config, config.trainer_cfg.save_name)
    distributed.main_first(folder.create)
    start_logging(folder, "train", log_to_file)
    distributed.at_a_hang(lambda why: add_event(folder, "failed", why=why))
    with Interruption() as interruption:
        try:
            iteration = _train(config, device, folder, interruption)
        except Interrupted as interrupted:
            add_event(folder, "interrupted", why=str(interrupted))
            raise
        except BaseException as error:
            _last_words(folder, error)
            raise
    add_event(folder, "finished", iteration=iteration)
    log.info("finished after iteration %d; checkpoints in %s", iteration, folder.checkpoints)
    return folder


def _last_words(folder: RunFolder, error: BaseException) -> None:
    """Write down what ended a run, if that can still be written."""
    with contextlib.suppress(UserError):
        add_event(folder, "failed", why=str(error) or type(error).__name__)


def _train(config: Config, device: torch.device, folder: RunFolder, interruption: Interruption) -> int:
    """Build everything, go through the iterations, and return how many there are now."""
    settings = config.trainer_cfg
    data = sources.open_data(config)
    for note in data.notes:
        log.info("notice: %s", note)
    if settings.tune_allocator and device.type == "cpu":
        log.info("memory: %s", tune_allocator()[1])
    if settings.deterministic:
        _be_deterministic()
    _tidy(folder)
    start = checkpoint_of(settings.restore_hint, folder)
    state = None if start is None else checkpoint.read_checkpoint(start)
    config = settled(config, device, state and state.get("config"))  # what is auto stays as it was before
    trainer = build_trainer(config, device)
    networks.check_classes(trainer.network, data)
    if start is not None and state is not None:
        trainer.restore(start, state)
        del state  # as large as what was restored
    elif settings.init_from is not None:
        trainer.start_from(settings.init_from)
    first = trainer.iteration
    source = sources.training_source(config, data, device, first)
    tested = sources.test_source(config, data, device) if settings.with_test else None
    if tested is not None:
        check_protocol(config, data, tested)
    if distributed.is_main():
        record(folder, "train", config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
    add_event(
        folder, "started", phase="training", iteration=first, processes=distributed.world_size(), notes=data.notes,
        **({} if start is None else {"from": str(start)}),
    )  # fmt: skip
    count = sum(p.numel() for p in trainer.network.parameters())
    log.info(
        "training %s, %.2f M parameters, on %d sequences of %d ids; %d process(es) on %s; %s",
        config.model_cfg.model, count / 1e6, len(source.dataset), len(data.train_ids),
        distributed.world_size(), device.type, folder.root,
    )  # fmt: skip
    monitor = Monitor(folder, config, first)

    def test_now() -> None:
        assert tested is not None
        now = trainer.iteration
        network = trainer.tested_network
        try:
            result = test_model(config, data, tested, network, device, folder, now, interruption)
        except Interrupted as stopped:
            raise Interrupted(_farewell(interruption, now, settings.total_iter, f"; of its test, {stopped}")) from None
        if result is not None:
            monitor.results(now, result.percentages, result.protocol)

    with working():
        try:
            if tested is not None and start is not None and _lacks_test(folder, start, first, settings):
                test_now()
                monitor.paused(first)
            trainer.training_mode()
            for batch in progress(batches(source.loader), settings.total_iter, "training", first):
                _iteration(trainer, batch, source, folder, monitor)
                now = trainer.iteration
                distributed.reached(f"the end of iteration {now}")
                stops = interruption.agreed()
                if stops or now == settings.total_iter or now % settings.save_iter == 0:
                    _save(trainer, folder)
                    if tested is not None and not stops:
                        test_now()
                        trainer.training_mode()
                    monitor.paused(now)
                distributed.reached(f"reading the batch of iteration {now + 1}")
                if stops and (now < settings.total_iter or tested is not None):
                    raise Interrupted(_farewell(interruption, now, settings.total_iter))
        finally:
            monitor.close()
    return trainer.iteration


def _farewell(interruption: Interruption, iteration: int, total: int, more: str = "") -> str:
    """Return what a run says that a signal has ended."""
    return f"{name_of(interruption.signal)}: saved iteration {iteration} of {total}{more}; go on with --resume"


def _lacks_test(folder: RunFolder, start: Path, iteration: int, settings: TrainerCfg) -> bool:
    """Tell whether a run stopped between a checkpoint and the test that belongs to it."""
    due = iteration == settings.total_iter or iteration % settings.save_iter == 0
    if not due or start.parent != folder.checkpoints:
        return False
    done = [e["kind"] for e in read_events(folder.logs) if e.get("iteration") == iteration and "kind" in e]
    return distributed.agree("tested" not in done)


def _iteration(trainer: Trainer, batch: Batch, source: sources.Source, folder: RunFolder, monitor: Monitor) -> None:
    """Take a step, and report it where it is time to.

    Raises:
        UserError: the memory does not suffice, or too many steps in a row were left out.
    """
    settings = trainer.config.trainer_cfg
    distributed.reached(f"iteration {trainer.iteration + 1}")
    lr = float(trainer.scheduler.get_last_lr()[0])
    with explained_memory(batch, settings.accumulate):
        statistics = trainer.step(batch, source.divisors)
    now = trainer.iteration
    logged = now == settings.total_iter or now % settings.log_iter == 0
    if logged or trainer.guard.may_reach(settings.max_skipped):
        _report_left_out(trainer, folder)
    if trainer.guard.in_a_row >= settings.max_skipped:
        saved = save_bad_batch(folder, trainer.config, trainer.network, batch, source, now)
        raise LocalError(
            f"iteration {now}: the gradient was not fit for a step {trainer.guard.in_a_row} times in a row "
            f"(trainer_cfg.max_skipped). Look at the last batch with `dygait debug-batch {saved}`; lower "
            f"optimizer_cfg.lr, or set trainer_cfg.grad_clip_norm, and go on with --resume"
        )
    if logged:
        values = distributed.mean_over_processes({k: float(v) for k, v in statistics.items()}, trainer.device)
        monitor.training(now, {**values, "lr": lr})
        if now == settings.log_iter or now % (10 * settings.log_iter) == 0:
            monitor.images(now, batch.silhouettes)


def _report_left_out(trainer: Trainer, folder: RunFolder) -> None:
    """Say which steps were left out since the last time; waits for the device, and so for all processes."""
    with distributed.together("the gradient"):
        trainer.guard.read()
    for iteration, norm in trainer.guard.news:
        log.info("notice: iteration %d was left out: its gradient has norm %g", iteration, norm)
        add_event(folder, "skipped step", iteration=iteration, gradient_norm=str(norm))
    trainer.guard.news.clear()


def _be_deterministic() -> None:
    # cuBLAS reads it when it starts; what the user has set stands.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def _save(trainer: Trainer, folder: RunFolder) -> None:
    """Write a checkpoint, on rank 0, and remove those that need not be kept.

    Raises:
        UserError: it cannot be written; those that are there stay.
    """
    for network in (trainer.network, trainer.tested_network):  # each process has running statistics of its own
        distributed.copy_from_main(network.buffers())
    _report_left_out(trainer, folder)
    settings = trainer.config.trainer_cfg
    failure = None
    if distributed.is_main():
        path = checkpoint.checkpoint_path(folder.checkpoints, folder.save_name, trainer.iteration)
        try:
            checkpoint.save_checkpoint(path, trainer.state())
            log.info("saved %s", path)
            removed = checkpoint.remove_old(
                folder.checkpoints, folder.save_name, settings.keep_last, settings.keep_every, trainer.iteration
            )
            add_event(folder, "saved", iteration=trainer.iteration, removed=[p.name for p in removed])
        except UserError as error:  # what cannot be written is the event alone
            failure = str(error)
        except OSError as error:
            whole = checkpoint.newest_checkpoint(folder.checkpoints, folder.save_name)
            failure = (
                f"the checkpoint {path} cannot be written: {error}; make room, or set trainer_cfg.keep_last, and go on "
                f"with --resume from {whole.name if whole else 'the start'}"
            )
    failure = distributed.agree(failure)
    if failure is not None:
        raise UserError(failure)
