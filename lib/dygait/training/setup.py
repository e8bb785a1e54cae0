"""Setting up a training run from its configuration and, if it resumes, from a checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from dygait import distributed
from dygait.config import Config
from dygait.logs import log
from dygait.machine import tune_allocator
from dygait.runs import checkpoint_files, networks, sources
from dygait.runs.events import add_event
from dygait.runs.folder import RunFolder, record_run
from dygait.runs.precision import resolve_precision
from dygait.testing.scoring import check_protocol
from dygait.training import checkpoint, restore_hint
from dygait.training.metrics import MetricsLogger
from dygait.training.trainer import Trainer, build_trainer


@dataclass(frozen=True)
class TrainingRun:
    """The state of the training loop.

    Attributes:
        source: the training data.
        test_source: the test set, if `with_test` is set.
        test_is_missing: whether the run resumes from a checkpoint that was not tested.
    """

    folder: RunFolder
    trainer: Trainer
    data: sources.Data
    source: sources.Source
    test_source: sources.Source | None
    metrics: MetricsLogger
    test_is_missing: bool


def set_up(config: Config, device: torch.device, folder: RunFolder) -> TrainingRun:
    """Open the data, build the trainer, restore the checkpoint that the configuration names, and record the run.

    Raises:
        UserError: data, a checkpoint or a component of the configuration is missing or invalid.
    """
    settings = config.trainer_cfg
    data = sources.open_data(config)
    for note in data.notes:
        log.info("notice: %s", note)
    if settings.tune_allocator and device.type == "cpu":
        log.info("memory: %s", tune_allocator()[1])
    if settings.deterministic:
        _use_deterministic_algorithms()
    restore_hint.remove_unfinished_files(folder)
    start = restore_hint.find_checkpoint(settings.restore_hint, folder)
    state = None if start is None else checkpoint_files.read_checkpoint(start)
    config = resolve_precision(config, device, state and state.get("config"))
    trainer = build_trainer(config, device)
    networks.check_classes(trainer.network, data)
    if start is not None and state is not None:
        checkpoint.restore(trainer, start, state)
        del state  # frees memory of the size of the weights
    elif settings.init_from is not None:
        restore_hint.load_initial_weights(trainer, settings.init_from)
    source = sources.build_training_source(config, data, device, trainer.iteration)
    test_source = sources.build_test_source(config, data, device) if settings.with_test else None
    if test_source is not None:
        check_protocol(config, data, test_source)
    test_is_missing = test_source is not None and start is not None and restore_hint.lacks_test(folder, start, trainer)
    record_run(folder, "train", config, device, {"fingerprint": data.store.fingerprint, "notes": data.notes})
    add_event(
        folder, "started", phase="training", iteration=trainer.iteration, processes=distributed.world_size(),
        notes=data.notes, **({} if start is None else {"from": str(start)}),
    )  # fmt: skip
    log.info(
        "training %s, %.2f M parameters, on %d sequences of %d ids; %d process(es) on %s; %s",
        config.model_cfg.model, sum(p.numel() for p in trainer.network.parameters()) / 1e6, len(source.dataset),
        len(data.train_ids), distributed.world_size(), device.type, folder.root,
    )  # fmt: skip
    metrics = MetricsLogger(folder, config, trainer.iteration)
    return TrainingRun(folder, trainer, data, source, test_source, metrics, test_is_missing)


def _use_deterministic_algorithms() -> None:
    # cuBLAS reads the variable when it starts; a value that the user has set is kept.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
