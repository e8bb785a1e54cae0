"""Building the data of a run from its configuration: sequences, partition, dataset, sampler and loader."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from dygait import distributed
from dygait.config.schema import Config, EvaluatorCfg, FramesCfg, Protocol, TrainerCfg, TransformCfg
from dygait.data.dataset import SequenceDataset, files_in_use
from dygait.data.frame_sampler import FrameSampler
from dygait.data.integrity import find_unreadable
from dygait.data.loader import make_loader
from dygait.data.partition import Partition, coverage, load_partition, with_all_ids
from dygait.data.samplers import SAMPLERS, InferenceSampler
from dygait.data.sequences import condition_of
from dygait.data.stores import PackedStore, Store, open_store
from dygait.data.stores.cached import fill_cache, memory_folder
from dygait.data.stores.concat import prefixed_id
from dygait.data.transforms import Transform, build_transform
from dygait.errors import UserError
from dygait.evaluation import classification_of
from dygait.frames.normalisation import is_normalised
from dygait.logs import log, progress
from dygait.modeling import complete_model_cfg
from dygait.modeling.dry_run import dry_run
from dygait.synthetic.settings import is_address

_FEW_FRAMES = 12
_REMEDY = "the person does not fill their rows; make frames from the pictures with `dygait prepare folders`"
_MAX_NAMED = 5  # unreadable sequences that a message names


@dataclass(frozen=True)
class Data:
    """A dataset on disk and its partition.

    Attributes:
        notes: remarks for the log and the record of the run.
        classification: the protocol whose classes the logits learn; None: they learn the training ids.
    """

    store: Store
    partition: Partition
    notes: list[str]
    classification: Protocol | None = None

    @property
    def train_ids(self) -> list[str]:
        """The training ids on disk, sorted; labels are indices into this list."""
        return sorted(set(self.partition.train) & set(self.store.table.ids.names))


def open_data(config: Config) -> Data:
    """Open the dataset and the partition of a configuration, with the same result on every process.

    Raises:
        UserError: there is no data, or the partition does not fit it.
    """
    data = config.data_cfg
    store = distributed.main_first(lambda: open_store(data.dataset_root))
    ids = list(store.table.ids.names)
    partition = with_all_ids(open_partition(config), data.dataset_partition, ids)
    notes = coverage(partition, ids)
    notes += [f"the code of {file} was executed (custom_imports)" for file in config.custom_imports]
    if store.empty:
        notes.append(f"{store.empty} sequence folders hold no pickle")
    return Data(store, partition, notes, classification_of(config))


def open_partition(config: Config) -> Partition:
    """Read the partition of a configuration, whose data need not exist; UserError if it cannot be read."""
    data = config.data_cfg
    spec, name = data.dataset_partition, data.dataset_name
    if isinstance(spec, list):
        return _merge_partitions([load_partition(entry, name) for entry in spec])
    if spec is None and isinstance(data.dataset_root, str) and is_address(data.dataset_root):
        spec = data.dataset_root
    return load_partition(spec, name)


def _merge_partitions(partitions: list[Partition]) -> Partition:
    """Merge the partitions of several datasets, with the ids of `ConcatStore`."""

    def merged(attribute: str) -> tuple[str, ...]:
        numbered = enumerate((getattr(p, attribute) or () for p in partitions), 1)
        return tuple(prefixed_id(number, name) for number, names in numbered for name in names)

    lists = {
        name: merged(name) for name in ("probe", "gallery") if any(getattr(p, name) is not None for p in partitions)
    }
    return Partition(" + ".join(p.name for p in partitions), merged("train"), merged("test"), **lists)


def _check_geometry(config: Config, dataset: SequenceDataset) -> list[str]:
    """Check that transformed frames fit the model, and return remarks on frames that were never normalised.

    Raises:
        UserError: their size is not `input_size`, or the model does not accept it.
    """
    input_size = config.model_cfg.input_size
    file = dataset.files[0]
    checked: list[list[tuple[int, ...]]] = []
    notes: list[str] = []
    for (height, width), index in dataset.store.geometries(dataset.indices, file).items():
        frames = dataset.read(index)
        location = dataset.store.location(index, file)
        remarks = []
        if frames.ndim == 3 and not is_normalised(np.asarray(frames)):  # rendered frames are not an array
            remarks = [f"the frames of {location}, {height}x{width}, were never normalised: {_REMEDY}"]
        notes += remarks
        try:
            sizes = dataset.sizes(index)
        except UserError as error:
            raise UserError(remarks[0] if remarks else str(error)) from None
        shown = " and ".join("x".join(map(str, size)) for size in sizes)
        message = f"the frames of {location} are {height}x{width}, and {shown} after the transform"
        if input_size is not None and any(tuple(input_size) != size[-2:] for size in sizes):
            raise UserError(
                f"model_cfg.input_size is {input_size[0]}x{input_size[1]}, but {message}; change the transform, the "
                f"input_size, or the data"
            )
        if sizes not in checked:
            checked.append(sizes)
            model_cfg = complete_model_cfg(config.model_cfg.model_dump(), config.data_cfg.dataset_name, 2)
            with_channels = [(1, *sizes[0])] if len(sizes) == 1 and len(sizes[0]) == 2 else sizes
            problems = dry_run(model_cfg, None, with_channels, _FEW_FRAMES)[1]
            if problems:
                raise UserError(f"{message}, which does not fit the model: {problems[0].message}")
    return notes


def _dataset(
    config: Config, data: Data, section: TrainerCfg | EvaluatorCfg, phase: str, ids: tuple[str, ...], labels: list[str]
) -> SequenceDataset:
    """Return the dataset of the readable sequences of some ids, with the frame sampler and transform of a section.

    `phase` is `training` or `test`, for messages; labels are indices into `labels`, which is empty in a test.
    """
    indices, names = data.store.table.indices(ids), data.store.table.ids.names
    if not len(indices):
        raise UserError(
            f"data_cfg.dataset_partition: {data.partition.name} names no {phase} id that is on disk: it has {len(ids)} "
            f"such as {ids[0] if ids else '(none)'}, {config.data_cfg.dataset_root} has {len(names)} such as {names[0]}"
        )
    sampler = section.sampler
    frames = FrameSampler(sampler.sample_type, **{key: getattr(sampler, key) for key in FramesCfg.model_fields})
    transforms = build_transforms(section.transform, config.modalities)
    indices = _readable_indices(config, data, indices)
    class_of = data.classification.class_of if data.classification is not None and labels else None
    in_use = config.data_cfg.data_in_use
    dataset = SequenceDataset(data.store, indices, labels, frames, transforms, in_use, class_of)
    for note in _check_geometry(config, dataset):
        data.notes.append(note)
        log.info("notice: %s", note)
    if not config.data_cfg.cache:
        return dataset
    folder = memory_folder(distributed.broadcast_object(secrets.token_hex(8)))
    distributed.once_per_machine(
        lambda: fill_cache(data.store, indices, dataset.files, folder, partial(progress, description="reading"))
    )
    store = PackedStore(folder)
    in_use = [True] * len(dataset.files)
    return SequenceDataset(store, np.arange(len(store.table)), labels, frames, transforms, in_use, class_of)


def _readable_indices(config: Config, data: Data, indices: np.ndarray) -> np.ndarray:
    """Return the indices of the readable sequences; rank 0 reads every sequence once.

    Raises:
        UserError: some cannot be read and `on_error` is `stop`, or none can.
    """
    files, track = files_in_use(config.data_cfg.data_in_use), partial(progress, description="checking sequences")
    unreadable = distributed.on_main(lambda: find_unreadable(data.store, indices, files, track))
    if not unreadable:
        return indices
    more = [f"and {len(unreadable) - _MAX_NAMED} more"] if len(unreadable) > _MAX_NAMED else []
    listed = "; ".join([*unreadable.values()][:_MAX_NAMED] + more)
    summary = f"{len(unreadable)} of {len(indices)} sequences cannot be used"
    if config.data_cfg.on_error == "stop":
        raise UserError(
            f"{summary}: {listed}. Repair them (`dygait verify` lists every one), or set data_cfg.on_error to skip to "
            f"continue without them"
        )
    readable = indices[~np.isin(indices, list(unreadable))]
    if not len(readable):
        raise UserError(f"{summary}: {listed}; none is left")
    data.notes.append(f"{summary} and are skipped (data_cfg.on_error: skip): {listed}")
    log.info("notice: %s", data.notes[-1])
    return readable


def build_transforms(config: TransformCfg | list[TransformCfg], modalities: int) -> list[Transform]:
    """Build the transform of each input of the model; for a single input, a list is a chain."""
    settings = [t.model_dump() for t in config] if isinstance(config, list) else config.model_dump()
    return [build_transform(settings)] if modalities == 1 else [build_transform(entry) for entry in settings]


@dataclass(frozen=True)
class Source:
    """A dataset and its loader."""

    dataset: SequenceDataset
    loader: Any


def build_training_source(config: Config, data: Data, device: torch.device, first_iteration: int) -> Source:
    """Build dataset, sampler and loader for training, starting after `first_iteration` iterations."""
    trainer, sampler = config.trainer_cfg, config.trainer_cfg.sampler
    dataset = _dataset(config, data, trainer, "training", data.partition.train, data.train_ids)
    batches = SAMPLERS.get(sampler.type)(
        dataset.labels,
        sampler.batch_size,
        sampler.batch_shuffle,
        trainer.seed,
        first_iteration,
        trainer.total_iter,
        distributed.rank(),
        distributed.world_size(),
        [condition_of(name) for name in data.store.table.types.take(dataset.indices)],
    )
    return Source(dataset, make_loader(dataset, batches, config.data_cfg.num_workers, device.type == "cuda"))


def build_test_source(config: Config, data: Data, device: torch.device) -> Source:
    """Build dataset, sampler and loader for testing."""
    sampler = config.evaluator_cfg.sampler
    dataset = _dataset(config, data, config.evaluator_cfg, "test", data.partition.test, [])
    batches = InferenceSampler(
        dataset.max_frames(),
        sampler.frames_budget,
        sampler.batch_size,
        config.trainer_cfg.seed,
        distributed.rank(),
        distributed.world_size(),
    )
    return Source(dataset, make_loader(dataset, batches, config.data_cfg.num_workers, device.type == "cuda"))
