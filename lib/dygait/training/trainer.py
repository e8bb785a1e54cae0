"""The training step and its state."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dygait import distributed
from dygait.config import Config
from dygait.data.collate import Batch
from dygait.data.samplers import views_of
from dygait.errors import UserError
from dygait.logs import log
from dygait.losses import LossAggregator
from dygait.losses.base import Statistics
from dygait.modeling import GaitOutput
from dygait.modeling.sync_batch_norm import synchronise_norms
from dygait.runs import networks
from dygait.runs.compilation import compile_network, mark_frames
from dygait.runs.precision import crashes, half_precision, half_type, resolve_precision, warn_if_slow
from dygait.training import optimizers, schedules
from dygait.training.accumulation import backward_in_parts, split_batch
from dygait.training.ema import WeightAverage
from dygait.training.guard import StepGuard


@dataclass
class Trainer:
    """The state of training.

    Attributes:
        network: the unwrapped network, whose weights are saved.
        model: the network, or DistributedDataParallel around it.
        average: the averaged weights, if `trainer_cfg.ema` is set.
        iteration: the number of completed steps.
        resumed: whether the state was restored from a checkpoint and no step has been taken since.
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
        """Set the model to training mode, except for BatchNorms that are fixed or frozen."""
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                frozen = module.affine and not module.weight.requires_grad
                if self.config.trainer_cfg.fix_BN or frozen:
                    module.eval()

    def step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Take one optimiser step on this process's share of a batch; the statistics are tensors on the device."""
        batch = batch.to(self.device)
        if self.resumed:
            self._warm_up(batch)
        self.guard.save_buffers()
        self.optimizer.zero_grad(set_to_none=True)
        with distributed.collective("the gradient"):
            statistics = self._forward_backward(batch)
            self.scaler.unscale_(self.optimizer)
            clip = self.config.trainer_cfg.grad_clip_norm or math.inf
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), clip)
            skip = self.guard.should_skip(norm, self.iteration + 1)
            optimizers.step_unless(skip, self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.iteration += 1
        if self.average is not None:
            self.average.update(self.network, self.iteration, skip)
        return {**statistics, "gradient_norm": norm}

    def _warm_up(self, batch: Batch) -> None:
        """Run forward and backward without a step, if a run with at least three processes resumes.

        DistributedDataParallel rebuilds its gradient buckets after the first backward pass, and the order of summation
        over more than two processes depends on the buckets. Without the warm-up, the first gradients would differ from
        those of an uninterrupted run in the last bits.
        """
        self.resumed = False
        if not isinstance(self.model, DistributedDataParallel) or distributed.world_size() < 3:
            return
        before = [buffer.clone() for buffer in self.network.buffers()]
        with distributed.collective("the warm-up"):
            self._forward_backward(batch)
        for buffer, value in zip(self.network.buffers(), before, strict=True):
            buffer.copy_(value)
        self.optimizer.zero_grad(set_to_none=True)

    def _forward_backward(self, batch: Batch) -> Statistics:
        """Add the gradient of the loss of a batch, times the loss scale, to the parameters."""
        count = self.config.trainer_cfg.accumulate
        if count == 1:
            loss, statistics = self.losses(self._forward(batch), batch.labels, batch.class_labels)
            self.scaler.scale(loss).backward()
            return statistics
        parts = split_batch(batch, count)
        labels = torch.cat([part.labels for part in parts])
        classes = [part.class_labels for part in parts if part.class_labels is not None]

        def scaled_loss(output: GaitOutput) -> tuple[torch.Tensor, Statistics]:
            loss, statistics = self.losses(output, labels, torch.cat(classes) if classes else None)
            return self.scaler.scale(loss), statistics

        model = self.model
        return backward_in_parts(
            lambda part: self._forward(parts[part], part), count, scaled_loss, list(self.network.buffers()),
            model.no_sync if isinstance(model, DistributedDataParallel) else contextlib.nullcontext,
        )  # fmt: skip

    def _forward(self, batch: Batch, part: int = 0) -> GaitOutput:
        trainer = self.config.trainer_cfg
        # Dropout is a function of (seed, iteration, rank, part), so that a resumed run repeats it.
        state = np.random.SeedSequence((trainer.seed, self.iteration, distributed.rank(), part))
        torch.manual_seed(int(state.generate_state(1)[0]))
        inputs = batch.scaled()
        if trainer.compile and not trainer.sampler.sample_type.startswith("fixed"):
            mark_frames(inputs)
        with half_precision(self.device, trainer.enable_float16, trainer.half_type):
            output: GaitOutput = self.model(inputs, batch.lengths)
        return output

    @property
    def tested_network(self) -> nn.Module:
        """The network for tests during training: with averaged weights, unless `evaluator_cfg.use_ema` is false."""
        if self.average is None or not self.config.evaluator_cfg.use_ema:
            return self.network
        return self.average.network


def build_trainer(config: Config, device: torch.device) -> Trainer:
    """Build model, losses, optimiser and scheduler, wrapped for distributed training if there are several processes.

    Raises:
        UserError: the configuration is not possible with this device or number of processes.
    """
    config = resolve_precision(config, device)
    trainer = config.trainer_cfg
    share = trainer.sampler.sequences // distributed.world_size()
    if trainer.accumulate > share:
        raise UserError(
            f"trainer_cfg.accumulate is {trainer.accumulate}, but a process has {share} sequences of a batch"
        )
    if views_of(trainer.sampler.type) > 1 and share % trainer.accumulate:
        raise UserError(
            f"trainer_cfg.accumulate: {trainer.accumulate} parts do not each get all views of their share of {share} "
            f"sequences; choose a divisor of {share}"
        )
    warn_if_slow(device, bool(trainer.enable_float16), trainer.half_type, "trainer_cfg")
    network = networks.build_network(config, device)
    if trainer.enable_float16 and crashes(network, config.model_cfg.input_size, device):
        log.info("notice: trainer_cfg.enable_float16 has no effect here: PyTorch crashes in half precision on this CPU")
        trainer = trainer.model_copy(update={"enable_float16": False})
        config = config.model_copy(update={"trainer_cfg": trainer})
    networks.freeze(network, trainer.freeze)
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
    optimizer = optimizers.build_optimizer(config, network)
    half = half_type(device, trainer.half_type)
    return Trainer(
        config,
        device,
        network,
        model,
        LossAggregator([term.model_dump() for term in config.loss_cfg]),
        optimizer,
        schedules.build_scheduler(config, optimizer, getattr(network, "least_lr", 0.0)),
        torch.amp.GradScaler(device.type, enabled=bool(trainer.enable_float16) and half is torch.float16),
        average,
        StepGuard(network.buffers(), trainer.spike_factor),
    )
