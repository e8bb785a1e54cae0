"""The training loop."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import dygait
from dygait import distributed
from dygait.config import Config
from dygait.config.schema import TrainerCfg
from dygait.data import Batch, batches, working
from dygait.engine import build, checkpoint
from dygait.engine.accumulation import backward_in_parts, split
from dygait.engine.bad_batch import explained_memory, save_bad_batch
from dygait.engine.compilation import compile_network, mark_frames
from dygait.engine.ema import WeightAverage
from dygait.engine.events import add_event, read_events
from dygait.engine.guard import StepGuard
from dygait.engine.interruption import Interruption, name_of
from dygait.engine.monitor import Monitor, log, progress, start_logging
from dygait.engine.precision import half_precision, half_type, settled, warn_if_slow
from dygait.engine.run import RunFolder, record, remove_unfinished, run_folder
from dygait.engine.sync_norm import synchronise_norms
from dygait.engine.test import check_protocol, test_model
from dygait.errors import Interrupted, LocalError, UserError
from dygait.losses import LossAggregator
from dygait.losses.base import Statistics
from dygait.machine import tune_allocator
from dygait.modeling import GaitOutput

AUTO = "auto"
"""The restore_hint that means: from where this run is."""

# The schedule is a function of the iteration, also when the loss scaler skips the very first step.
warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step\\(\\)` before")


@dataclass
class Trainer:
    """Everything that changes during training.

    Attributes:
        network: the model itself, whose weights are saved.
        model: the network, or DistributedDataParallel around it.
        average: the average of its weights, where the configuration wants one.
        guard: what leaves out steps that would do harm.
        iteration: how many steps have been done.
        resumed: a run goes on that other processes have begun, and no step has been taken since.
    """

    config: Config
    device: torch.device
    network: nn.Module
    model: nn.Module
    losses: LossAggregator
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    guard: StepGuard
    iteration: int = 0
    resumed: bool = False

    def training_mode(self) -> None:
        """Switch to training, BatchNorm too unless it is fixed or frozen."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                frozen = module.affine and not module.weight.requires_grad
                if self.config.trainer_cfg.fix_BN or frozen:
                    module.eval()

    def step(self, batch: Batch, divisors: Sequence[float]) -> dict[str, torch.Tensor]:
        """Take one optimiser step on this process's share of a batch; the statistics stay on the device."""
        batch = batch.to(self.device)
        if self.resumed:
            self._rehearse(batch, divisors)
        self.guard.remember()
        self.optimizer.zero_grad(set_to_none=True)
        with distributed.together("the gradient"):
            statistics = self._gradient(batch, divisors)
            self.scaler.unscale_(self.optimizer)
            clip = self.config.trainer_cfg.grad_clip_norm or math.inf
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
            left_out = self.guard.leaves_out(norm, self.iteration + 1)
            build.step_unless(left_out, self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.iteration += 1
        if self.average is not None:
            self.average.update(self.network, self.iteration, left_out)
        return {**statistics, "gradient_norm": norm}

    def _rehearse(self, batch: Batch, divisors: Sequence[float]) -> None:
        """Go through a batch without taking the step, where a run of three processes or more goes on.

        DistributedDataParallel lays gradients out anew after its first backward pass, and how more than two numbers are
        added depends on where they lie: the last bits would be others than those of a run that was never interrupted.
        """
        self.resumed = False
        if not isinstance(self.model, DistributedDataParallel) or distributed.world_size() < 3:
            return
        before = [buffer.clone() for buffer in self.network.buffers()]
        with distributed.together("the rehearsal"):
            self._gradient(batch, divisors)
        for buffer, value in zip(self.network.buffers(), before, strict=True):
            buffer.copy_(value)
        self.optimizer.zero_grad(set_to_none=True)

    def _gradient(self, batch: Batch, divisors: Sequence[float]) -> Statistics:
        """Add the gradient of a batch's loss, times the loss scale, to the parameters."""
        count = self.config.trainer_cfg.accumulate
        if count == 1:
            loss, statistics = self.losses(self._forward(batch, divisors), batch.labels)
            self.scaler.scale(loss).backward()
            return statistics
        parts = split(batch, count)
        labels = torch.cat([part.labels for part in parts])

        def scaled_loss(output: GaitOutput) -> tuple[torch.Tensor, Statistics]:
            loss, statistics = self.losses(output, labels)
            return self.scaler.scale(loss), statistics

        model = self.model
        return backward_in_parts(
            lambda part: self._forward(parts[part], divisors, part),
            count,
            scaled_loss,
            list(self.network.buffers()),
            model.no_sync if isinstance(model, DistributedDataParallel) else contextlib.nullcontext,
        )

    def _forward(self, batch: Batch, divisors: Sequence[float], part: int = 0) -> GaitOutput:
        trainer = self.config.trainer_cfg
        # What a model draws (dropout) is a function of (seed, iteration, rank, part) too: a resumed run draws the same.
        state = np.random.SeedSequence((trainer.seed, self.iteration, distributed.rank(), part))
        torch.manual_seed(int(state.generate_state(1)[0]))
        inputs = batch.scaled(divisors)
        if trainer.compile and not trainer.sampler.sample_type.startswith("fixed"):
            mark_frames(inputs)
        with half_precision(self.device, trainer.enable_float16, trainer.half_type):
            output: GaitOutput = self.model(inputs, batch.lengths)
        return output

    @property
    def tested_network(self) -> nn.Module:
        """The network that a test during training uses: the average, unless `evaluator_cfg.use_ema` is false."""
        averaged = self.average is not None and self.config.evaluator_cfg.use_ema
        return self.average.network if self.average is not None and averaged else self.network

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: tensors and plain values only."""
        return {
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({} if self.average is None else {"ema": self.average.network.state_dict()}),
            "guard": self.guard.state(),
            "iteration": self.iteration,
            "seed": self.config.trainer_cfg.seed,
            "config": self.config.as_dict(),
            "version": dygait.__version__,
        }

    def start_from(self, path: str) -> None:
        """Take the weights of a checkpoint, and nothing else of it; a class head of other classes starts afresh.

        Raises:
            UserError: the checkpoint does not fit.
        """
        strict = self.config.trainer_cfg.restore_ckpt_strict
        report = checkpoint.load_weights(self.network, path, strict, reset_head=True)
        log.info("starting from the weights of %s: %s", path, report)
        if self.average is not None:
            self.average.network.load_state_dict(self.network.state_dict())

    def restore(self, path: Path, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, resetting what the configuration says.

        Args:
            path: where it is.
            state: what it holds.

        Raises:
            UserError: the checkpoint does not fit.
        """
        trainer = self.config.trainer_cfg
        report = checkpoint.load_state(self.network, state["model"], str(path), trainer.restore_ckpt_strict)
        log.info("restored %s: %s", path, report)
        self._restore_average(state, str(path))
        keeps_optimizer = not trainer.optimizer_reset
        if keeps_optimizer and (report.opengait or not report.complete):
            log.info("notice: the optimiser starts afresh: its state in the checkpoint belongs to other weights")
            keeps_optimizer = False
        solver = self.config.optimizer_cfg.solver
        try:
            if keeps_optimizer and state["config"]["optimizer_cfg"]["solver"] != solver:
                raise ValueError(f"it was written with {state['config']['optimizer_cfg']['solver']}, this is {solver}")
            if keeps_optimizer:
                build.restore_optimizer(self.optimizer, state["optimizer"])
            if not trainer.scheduler_reset:
                self.scheduler.load_state_dict(state["scheduler"])
            if state.get("scaler"):
                self.scaler.load_state_dict(state["scaler"])
            if "guard" in state:
                self.guard.restore(state["guard"])
            self.iteration = int(state["iteration"])
            self.resumed = self.iteration > 0
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f"the checkpoint {path} does not fit the optimiser or scheduler ({error}); "
                f"optimizer_reset and scheduler_reset start them afresh"
            ) from None
        # Where one of the two starts afresh, the other must not bring its own learning rate.
        rates = zip(self.scheduler.get_last_lr(), self.scheduler.base_lrs, strict=True)
        for group, (rate, first) in zip(self.optimizer.param_groups, rates, strict=True):
            group.update(lr=rate, initial_lr=first)
        if self.config.trainer_cfg.seed != state.get("seed", trainer.seed):
            log.info("the checkpoint was trained with seed %s; going on with %s", state["seed"], trainer.seed)

    def _restore_average(self, state: dict[str, Any], source: str) -> None:
        """Go on with the averaged weights of a checkpoint, or from its weights where it has no average."""
        if self.average is None:
            if state.get("ema") is not None:
                log.info("notice: the averaged weights of the checkpoint are left; trainer_cfg.ema goes on with them")
            return
        if state.get("ema") is None:
            log.info("notice: the checkpoint holds no averaged weights; the average starts from its weights")
            self.average.network.load_state_dict(self.network.state_dict())
            return
        checkpoint.load_state(self.average.network, state["ema"], source, self.config.trainer_cfg.restore_ckpt_strict)


def build_trainer(config: Config, device: torch.device) -> Trainer:
    """Build model, losses, optimiser and scheduler, wrapped for the processes that there are.

    Raises:
        UserError: something that the configuration asks for cannot be had here.
    """
    config = settled(config, device)
    trainer = config.trainer_cfg
    share = trainer.sampler.sequences // distributed.world_size()
    if trainer.accumulate > share:
        raise UserError(
            f"trainer_cfg.accumulate is {trainer.accumulate}, but a process has {share} sequences of a batch"
        )
    warn_if_slow(device, bool(trainer.enable_float16), trainer.half_type, "trainer_cfg")
    network = build.build_network(config, device)
    build.freeze(network, trainer.freeze)
    several = distributed.world_size() > 1
    if trainer.sync_BN and several:
        network = synchronise_norms(network, device)
    elif trainer.sync_BN:
        log.info("notice: trainer_cfg.sync_BN has no effect in this run: one process sees the whole batch")
    average = None if trainer.ema is None else WeightAverage(network, trainer.ema)
    compile_network(network, trainer.compile, device)
    model = network
    if several and any(p.requires_grad for p in network.parameters()):
        model = distributed.data_parallel(network, device, trainer.find_unused_parameters, trainer.gradient_compression)
    elif trainer.gradient_compression is not None:
        log.info("notice: trainer_cfg.gradient_compression has no effect in this run: no gradients are exchanged")
    optimizer = build.build_optimizer(config, network)
    half = half_type(device, trainer.half_type)
    return Trainer(
        config,
        device,
        network,
        model,
        LossAggregator([term.model_dump() for term in config.loss_cfg]),
        optimizer,
        build.build_scheduler(config, optimizer),
        torch.amp.GradScaler(device.type, enabled=bool(trainer.enable_float16) and half is torch.float16),
        average,
        StepGuard(network.buffers(), trainer.spike_factor),
    )


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
    data = build.open_data(config)
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
    build.check_classes(trainer.network, data)
    if start is not None and state is not None:
        trainer.restore(start, state)
        del state  # as large as what was restored
    elif settings.init_from is not None:
        trainer.start_from(settings.init_from)
    first = trainer.iteration
    source = build.training_source(config, data, device, first)
    tested = build.test_source(config, data, device) if settings.with_test else None
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

    with working(source.loader, *(() if tested is None else (tested.loader,))):
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


def _iteration(trainer: Trainer, batch: Batch, source: build.Source, folder: RunFolder, monitor: Monitor) -> None:
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
