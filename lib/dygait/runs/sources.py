"""From a configuration to the data of a run: sequences, partition, dataset, sampler and loader."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
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
from dygait.data.partition import ALL, Partition, coverage, load_partition
from dygait.data.samplers import SAMPLERS, InferenceSampler
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
    """A dataset on disk and its partition; `notes` are remarks for the log and the record of the run.

    `classification` is the protocol whose classes the logits learn, if they do not learn the training ids.
    """

    store: Store
    partition: Partition
    notes: list[str]
    classification: Protocol | None = None

    @property
    def train_ids(self) -> list[str]:
        """The training ids that are on disk; a label is an index into this list."""
        disk = set(self.store.table.ids.names)
        return sorted(i for i in set(self.partition.train) if i in disk)


def open_data(config: Config) -> Data:
    """Open the dataset and the partition of a configuration; the same on every process.

    Raises:
        UserError: there is no data, or the partition does not fit it.
    """
    data = config.data_cfg
    store = distributed.main_first(lambda: open_store(data.dataset_root))
    ids = list(store.table.ids.names)
    partition = _with_all_ids(open_partition(config), data.dataset_partition, ids)
    notes = coverage(partition, ids)
    notes += [f"the code of {file} was executed (custom_imports)" for file in config.custom_imports]
    if store.empty:
        notes.append(f"{store.empty} sequence folders hold no pickle")
    return Data(store, partition, notes, classification_of(config))


def open_partition(config: Config) -> Partition:
    """Return the partition of a configuration, whose data need not exist yet; UserError if it cannot be read."""
    data = config.data_cfg
    spec, name = data.dataset_partition, data.dataset_name
    if isinstance(spec, list):
        return _merged_partition([load_partition(one, name) for one in spec])
    if spec is None and isinstance(data.dataset_root, str) and is_address(data.dataset_root):
        spec = data.dataset_root
    return load_partition(spec, name)


def _with_all_ids(partition: Partition, spec: str | list[str] | None, ids: list[str]) -> Partition:
    """Return a partition in which the ids on disk train where `dataset_partition` is `all`, or its entry of a root."""
    if isinstance(spec, list):
        prefixes = tuple(prefixed_id(number, "") for number, one in enumerate(spec, 1) if one == ALL)
    else:
        prefixes = ("",) if spec == ALL else ()
    return replace(partition, train=(*partition.train, *(name for name in ids if name.startswith(prefixes))))


def _merged_partition(partitions: list[Partition]) -> Partition:
    """Merge the partitions of several datasets, with the ids that `ConcatStore` gives them."""

    def renamed(attribute: str) -> tuple[str, ...]:
        numbered = enumerate((getattr(p, attribute) or () for p in partitions), 1)
        return tuple(prefixed_id(number, name) for number, names in numbered for name in names)

    lists = {
        name: renamed(name) for name in ("probe", "gallery") if any(getattr(p, name) is not None for p in partitions)
    }
    return Partition(" + ".join(p.name for p in partitions), renamed("train"), renamed("test"), **lists)


def _check_geometry(config: Config, dataset: SequenceDataset) -> list[str]:
    """Raise a UserError, before anything is computed, if transformed frames have not the size of the model's input.

    Returns remarks: on frames that were never normalised.
    """
    wanted = config.model_cfg.input_size
    file = dataset.files[0]
    checked: list[list[tuple[int, ...]]] = []
    notes: list[str] = []
    for (height, width), index in dataset.store.geometries(dataset.indices, file).items():
        stored = dataset.read(index)
        where = dataset.store.location(index, file)
        raw = []
        if stored.ndim == 3 and not is_normalised(np.asarray(stored)):  # rendered frames are not an array
            raw = [f"the frames of {where}, {height}x{width}, were never normalised: {_REMEDY}"]
        notes += raw
        try:
            found = dataset.sizes(index)
        except UserError as error:
            raise UserError(raw[0] if raw else str(error)) from None
        after = " and ".join("x".join(map(str, size)) for size in found)
        message = f"the frames of {where} are {height}x{width}, and {after} after the transform"
        if wanted is not None and any(tuple(wanted) != size[-2:] for size in found):
            raise UserError(
                f"model_cfg.input_size is {wanted[0]}x{wanted[1]}, but {message}; change the transform, the "
                f"input_size, or the data"
            )
        if found not in checked:
            checked.append(found)
            model_cfg = complete_model_cfg(config.model_cfg.model_dump(), config.data_cfg.dataset_name, 2)
            sizes = [(1, *found[0])] if len(found) == 1 and len(found[0]) == 2 else found
            problems = dry_run(model_cfg, None, sizes, _FEW_FRAMES)[1]
            if problems:
                raise UserError(f"{message}, which does not fit the model: {problems[0].message}")
    return notes


def _dataset(
    config: Config, data: Data, section: TrainerCfg | EvaluatorCfg, which: str, ids: tuple[str, ...], labels: list[str]
) -> SequenceDataset:
    """Open the sequences of some ids of the partition that can be read, with the sampler and transform of a section.

    Messages name `which` set it is, `training` or `test`; labels are indices into `labels`, which is empty in a test.
    """
    indices, names = data.store.table.indices(ids), data.store.table.ids.names
    if not len(indices):
        raise UserError(
            f"data_cfg.dataset_partition: {data.partition.name} names no {which} id that is on disk: it has {len(ids)} "
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
    files, shown = files_in_use(config.data_cfg.data_in_use), partial(progress, description="checking sequences")
    found = distributed.on_main(lambda: find_unreadable(data.store, indices, files, shown))
    if not found:
        return indices
    more = [f"and {len(found) - _MAX_NAMED} more"] if len(found) > _MAX_NAMED else []
    named = "; ".join([*found.values()][:_MAX_NAMED] + more)
    what = f"{len(found)} of {len(indices)} sequences cannot be used"
    if config.data_cfg.on_error == "stop":
        raise UserError(
            f"{what}: {named}. Repair them (`dygait verify` lists every one), or set data_cfg.on_error to skip to "
            f"continue without them"
        )
    kept = indices[~np.isin(indices, list(found))]
    if not len(kept):
        raise UserError(f"{what}: {named}; none is left")
    data.notes.append(f"{what} and are skipped (data_cfg.on_error: skip): {named}")
    log.info("notice: %s", data.notes[-1])
    return kept


def build_transforms(config: TransformCfg | list[TransformCfg], modalities: int) -> list[Transform]:
    """Build the transform of each input of the model; with one, a list is a chain."""
    plain = [t.model_dump() for t in config] if isinstance(config, list) else config.model_dump()
    return [build_transform(plain)] if modalities == 1 else [build_transform(one) for one in plain]


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
