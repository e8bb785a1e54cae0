"""From a configuration to objects: the one place that knows both."""

from __future__ import annotations

import fnmatch
import inspect
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dygait import distributed
from dygait.config.schema import Config, FramesCfg, TestSamplerCfg, TrainSamplerCfg, TransformCfg
from dygait.data import (
    SAMPLERS,
    FrameSampler,
    InferenceSampler,
    Partition,
    SequenceDataset,
    Store,
    TrainingSampler,
    TripletSampler,
    build_transform,
    coverage,
    load_partition,
    make_loader,
    open_store,
    transform_problems,
)
from dygait.data.dataset import files_in_use
from dygait.data.stores.cached import fill_cache, memory_folder, open_cache
from dygait.data.stores.several import SeveralStores, id_in
from dygait.data.transforms import Transform
from dygait.data.verification import unreadable
from dygait.engine.monitor import log, progress
from dygait.engine.parameter_groups import parameter_groups, rates_of_groups
from dygait.errors import UserError
from dygait.evaluation import name_problems, resolve_protocol
from dygait.losses import loss_problems
from dygait.modeling import MODELS, complete_model_cfg
from dygait.registry import Problem, suggest

_NAMED = 5  # unreadable sequences that a message names
_FUSED = {
    "SGD",
    "Adam",
    "AdamW",
}  # whose whole step is one kernel, on CUDA and on a CPU, in every version that we run on
_NO_CLOSURES = {"LBFGS"}  # step() wants a closure, the loop gives none
_NO_METRICS = {"ReduceLROnPlateau"}  # step() wants a metric, the schedule is by iteration


def _classes(module: Any, base: type, without: set[str]) -> dict[str, type]:
    return {
        name: entry
        for name, entry in vars(module).items()
        if inspect.isclass(entry)
        and issubclass(entry, base)
        and entry is not base
        and name not in without
        and not name.startswith("_")
    }


OPTIMIZERS = _classes(torch.optim, torch.optim.Optimizer, _NO_CLOSURES)
SCHEDULERS = _classes(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler, _NO_METRICS)


def _keyword_problems(target: Callable[..., Any], keywords: Mapping[str, Any], own_key: str) -> list[Problem]:
    """Check the names of a foreign class's keywords; its own constructor checks the values."""
    valid = [n for n in inspect.signature(target).parameters if n not in ("params", "optimizer")]
    return [
        Problem(
            (str(key),),
            f"unknown key{suggest(str(key), valid) or '; valid keys: ' + ', '.join(sorted([*valid, own_key]))}",
        )
        for key in keywords
        if key not in valid
    ]


def _optimizer_problems(section: Mapping[str, Any]) -> list[Problem]:
    solver = section.get("solver")
    keywords = {k: v for k, v in section.items() if k not in ("solver", "param_groups")}
    if not isinstance(solver, str) or solver not in OPTIMIZERS:
        return [
            Problem(
                ("solver",), f"unknown optimiser {solver!r}{suggest(str(solver), OPTIMIZERS)} (a class of torch.optim)"
            )
        ]
    found = _keyword_problems(OPTIMIZERS[solver], keywords, "solver")
    if not found and isinstance(keywords.get("lr", 0.0), (int, float)):  # else the schema says so
        try:
            OPTIMIZERS[solver]([nn.Parameter(torch.zeros(1))], **keywords)
        except (TypeError, ValueError, RuntimeError) as error:
            found.append(Problem(("solver",), f"{solver} refuses its settings: {error}"))
    groups = section.get("param_groups")
    for place, group in enumerate(groups if isinstance(groups, list) else []):
        own = [k for k in ("lr", "weight_decay") if isinstance(group, Mapping) and k in group]
        found += [
            Problem(("param_groups", str(place), key), f"{solver} has no {key}")
            for key in own
            if key not in inspect.signature(OPTIMIZERS[solver]).parameters
        ]
    return found


def _scheduler_problems(section: Mapping[str, Any]) -> list[Problem]:
    name = section.get("scheduler")
    keywords = {k: v for k, v in section.items() if k != "scheduler"}
    if not isinstance(name, str) or name not in SCHEDULERS:
        hint = suggest(str(name), SCHEDULERS)
        return [Problem(("scheduler",), f"unknown scheduler {name!r}{hint} (a class of torch.optim.lr_scheduler)")]
    found = _keyword_problems(SCHEDULERS[name], keywords, "scheduler")
    if not found:
        try:
            SCHEDULERS[name](torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9), **keywords)
        except Exception as error:  # whatever the class thinks of them
            found.append(Problem(("scheduler",), f"{name} refuses its settings: {error}"))
    return found


def component_problems(merged: Mapping[str, Any], phase: str) -> list[Problem]:
    """Check what a configuration names against the registries and the signatures of what is registered.

    A section that is not of the right form is left to the schema.
    """
    sections = {k: v for k, v in merged.items() if isinstance(v, Mapping)}
    found: list[Problem] = []

    def add(path: tuple[str, ...], problems: list[Problem]) -> None:
        found.extend(Problem((*path, *p.path), p.message) for p in problems)

    data = sections.get("data_cfg", {})
    name = data.get("dataset_name")
    if isinstance(sections.get("model_cfg", {}).get("model"), str):
        model_cfg = complete_model_cfg(sections["model_cfg"], name if isinstance(name, str) else None)
        add(("model_cfg",), MODELS.problems(model_cfg))
    for place, term in enumerate(merged["loss_cfg"] if isinstance(merged.get("loss_cfg"), list) else []):
        if isinstance(term, Mapping) and "type" in term:
            add(("loss_cfg", str(place)), loss_problems(term))
    if "optimizer_cfg" in sections:
        add(("optimizer_cfg",), _optimizer_problems(sections["optimizer_cfg"]))
    if "scheduler_cfg" in sections:
        add(("scheduler_cfg",), _scheduler_problems(sections["scheduler_cfg"]))
    kinds: tuple[tuple[str, type, type], ...] = (
        ("trainer_cfg", TrainingSampler, TripletSampler),
        ("evaluator_cfg", InferenceSampler, InferenceSampler),
    )
    for section, kind, usual in kinds:
        content = sections.get(section, {})
        if "transform" in content:
            add((section, "transform"), transform_problems(content["transform"]))
        sampler = content.get("sampler")
        if isinstance(sampler, Mapping) and isinstance(sampler.get("type"), str):
            try:
                chosen = SAMPLERS.get(sampler["type"])
                if not issubclass(chosen, kind):
                    raise UserError(f"{sampler['type']} is not for {section}; use {usual.__name__}")
                size, takes = sampler.get("batch_size"), getattr(chosen, "takes", None)
                if isinstance(size, (int, list)) and takes == ("[P, K]" if isinstance(size, int) else "a number"):
                    add(
                        (section, "sampler", "batch_size"),
                        [Problem((), f"{sampler['type']} takes {takes}, got {size}")],
                    )
            except UserError as error:
                add((section, "sampler", "type"), [Problem((), str(error))])
    evaluator = sections.get("evaluator_cfg", {})
    tests = phase == "test" or sections.get("trainer_cfg", {}).get("with_test")
    function, tested = evaluator.get("eval_func"), data.get("test_dataset_name") or name
    if (
        tests
        and isinstance(tested, str)
        and (function is None or isinstance(function, str))
        and evaluator.get("protocol") is None
    ):
        try:
            resolve_protocol(function, tested, bool(evaluator.get("cross_view_gallery")))
        except UserError as error:
            add(("evaluator_cfg", "eval_func"), [Problem((), str(error))])
    own = evaluator.get("protocol")
    if isinstance(own, Mapping) and isinstance(own.get("name"), str):
        add(("evaluator_cfg", "protocol", "name"), [Problem((), p) for p in name_problems(own["name"])])
    return found


@dataclass(frozen=True)
class Data:
    """A dataset on disk, and how its ids are divided."""

    store: Store
    partition: Partition
    notes: list[str]

    @property
    def train_ids(self) -> list[str]:
        """The training ids that are on disk; a label is a position in this list."""
        disk = set(self.store.table.ids.names)
        return sorted(i for i in set(self.partition.train) if i in disk)


def open_data(config: Config) -> Data:
    """Find the sequences and the partition of a configuration; every process gets the same.

    Raises:
        UserError: there is no data, or the partition does not fit it.
    """
    data = config.data_cfg
    if isinstance(data.dataset_root, str):
        assert not isinstance(data.dataset_partition, list)
        partition = load_partition(data.dataset_partition, data.dataset_name)
        root = data.dataset_root
        store = distributed.main_first(lambda: open_store(root))
    else:
        parts = [load_partition(spec, data.dataset_name) for spec in data.dataset_partition or []]
        roots = data.dataset_root
        store = distributed.main_first(lambda: SeveralStores([open_store(root) for root in roots]))
        partition = _together(parts)
    notes = coverage(partition, list(store.table.ids.names))
    notes += [f"code of {file} has been run (custom_imports)" for file in config.custom_imports]
    if store.empty:
        notes.append(f"{store.empty} sequence folders hold no pickle")
    return Data(store, partition, notes)


def _together(partitions: list[Partition]) -> Partition:
    """Return the partition of several datasets trained together, whose ids `SeveralStores` keeps apart."""

    def renamed(attribute: str) -> tuple[str, ...]:
        numbered = enumerate((getattr(p, attribute) or () for p in partitions), 1)
        return tuple(id_in(number, name) for number, names in numbered for name in names)

    probe = renamed("probe") if any(p.probe is not None for p in partitions) else None
    return Partition(" + ".join(p.name for p in partitions), renamed("train"), renamed("test"), probe)


def _chosen(data: Data, ids: tuple[str, ...], which: str, root: str | list[str]) -> np.ndarray:
    places = data.store.table.places(ids)
    if not len(places):
        found = data.store.table.ids.names
        raise UserError(
            f"data_cfg.dataset_partition: {data.partition.name} names no {which} id that is on disk: it has {len(ids)} "
            f"such as {ids[0] if ids else '(none)'}, {root} has {len(found)} such as {found[0]}"
        )
    return places


def _check_geometry(config: Config, dataset: SequenceDataset) -> None:
    """Refuse frames that do not fit the model, before anything is computed.

    Raises:
        UserError: they come out of the transform at another size than the model is for.
    """
    model_cfg = complete_model_cfg(config.model_cfg.model_dump(), config.data_cfg.dataset_name)
    file, transform = dataset.files[0], dataset.transforms[0]
    for (height, width), place in dataset.store.geometries(dataset.places, file).items():
        stored = dataset.stored(place)[:1]
        where = dataset.store.where(place, file)
        try:
            found = list(transform(stored, np.random.default_rng(0)).shape[1:])
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        wanted = model_cfg.get("input_size")
        comes = f"the frames of {where} are {height}x{width} and come out of the transform as {found[0]}x{found[1]}"
        if wanted is not None and list(wanted) != found:
            raise UserError(
                f"model_cfg.input_size is {wanted[0]}x{wanted[1]}, but {comes}; change the transform, the "
                f"input_size, or the data"
            )
        if wanted is None and "input_size" in inspect.signature(MODELS.get(model_cfg["model"])).parameters:
            unfit = MODELS.problems({**model_cfg, "input_size": found})
            if unfit:
                raise UserError(f"{comes}, which does not fit the model: {unfit[0].message}")


def _dataset(
    config: Config, data: Data, places: np.ndarray, ids: list[str], frames: FrameSampler, transforms: list[Transform]
) -> SequenceDataset:
    section = config.data_cfg
    places = _readable(config, data, places)
    dataset = SequenceDataset(data.store, places, ids, frames, transforms, section.data_in_use)
    _check_geometry(config, dataset)
    if not section.cache:
        return dataset
    folder = memory_folder(distributed.agree(secrets.token_hex(8)))
    distributed.first_on_machine(
        lambda: fill_cache(
            data.store, places, dataset.files, folder, lambda wrapped, total: progress(wrapped, total, "reading")
        )
    )
    store = open_cache(folder)
    return SequenceDataset(store, np.arange(len(store.table)), ids, frames, transforms, [True] * len(transforms))


def _readable(config: Config, data: Data, places: np.ndarray) -> np.ndarray:
    """Return the places of the sequences that can be read: rank 0 reads each, before anything is computed.

    Raises:
        UserError: some cannot be read, and the configuration does not say to skip them; or none can.
    """
    files = files_in_use(config.data_cfg.data_in_use)
    found = {}
    if distributed.is_main():
        found = unreadable(
            data.store, places, files, lambda wrapped, total: progress(wrapped, total, "checking sequences")
        )
    found = distributed.agree(found)
    if not found:
        return places
    named = "; ".join(list(found.values())[:_NAMED]) + (f"; and {len(found) - _NAMED} more" * (len(found) > _NAMED))
    what = f"{len(found)} of {len(places)} sequences cannot be used"
    if config.data_cfg.on_error == "stop":
        raise UserError(
            f"{what}: {named}. Repair them (`dygait verify` lists every one), or set data_cfg.on_error to skip to go "
            f"on without them"
        )
    kept = places[~np.isin(places, list(found))]
    if not len(kept):
        raise UserError(f"{what}: {named}; none is left")
    data.notes.append(f"{what} and are left out (data_cfg.on_error: skip): {named}")
    log.info("notice: %s", data.notes[-1])
    return kept


def _frames(sampler: FramesCfg, sample_type: str) -> FrameSampler:
    names = ("frames_num_fixed", "frames_num_min", "frames_num_max", "frames_skip_num", "frames_all_limit")
    return FrameSampler(sample_type, **{name: getattr(sampler, name) for name in names})


def _transforms(config: TransformCfg | list[TransformCfg], modalities: int) -> list[Transform]:
    """Build the transform of each modality; with one, a list is a chain."""
    plain = [t.model_dump() for t in config] if isinstance(config, list) else config.model_dump()
    return [build_transform(plain)] if modalities == 1 else [build_transform(one) for one in plain]


@dataclass(frozen=True)
class Source:
    """A loader, and what is needed to use its batches."""

    dataset: SequenceDataset
    loader: Any

    @property
    def divisors(self) -> list[float]:
        """What brings the grey levels of each modality to 0..1."""
        return [transform.divisor for transform in self.dataset.transforms]


def training_source(config: Config, data: Data, device: torch.device, first_iteration: int) -> Source:
    """Build dataset, sampler and loader for training, from the iteration after `first_iteration` on."""
    trainer, sampler = config.trainer_cfg, config.trainer_cfg.sampler
    assert isinstance(sampler, TrainSamplerCfg)
    places = _chosen(data, data.partition.train, "training", config.data_cfg.dataset_root)
    transforms = _transforms(trainer.transform, config.data_cfg.modalities)
    dataset = _dataset(config, data, places, data.train_ids, _frames(sampler, sampler.sample_type), transforms)
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
    loader = make_loader(dataset, batches, config.data_cfg.num_workers, device.type == "cuda")
    return Source(dataset, loader)


def test_source(config: Config, data: Data, device: torch.device) -> Source:
    """Build dataset, sampler and loader for testing."""
    evaluator, sampler = config.evaluator_cfg, config.evaluator_cfg.sampler
    assert isinstance(sampler, TestSamplerCfg)
    places = _chosen(data, data.partition.test, "test", config.data_cfg.dataset_root)
    transforms = _transforms(evaluator.transform, config.data_cfg.modalities)
    dataset = _dataset(config, data, places, [], _frames(sampler, sampler.sample_type), transforms)
    batches = InferenceSampler(
        dataset.most_frames(),
        sampler.frames_budget,
        sampler.batch_size,
        config.trainer_cfg.seed,
        distributed.rank(),
        distributed.world_size(),
    )
    loader = make_loader(dataset, batches, config.data_cfg.num_workers, device.type == "cuda")
    return Source(dataset, loader)


test_source.__test__ = False  # type: ignore[attr-defined] # the name is no test case


def build_network(config: Config, device: torch.device) -> nn.Module:
    """Build the model of a configuration, initialised by its seed alone.

    Raises:
        UserError: it takes another number of modalities (its attribute `modalities`; 1 without) than are read.
    """
    torch.manual_seed(config.trainer_cfg.seed)
    dataset_name = config.data_cfg.dataset_name
    model: nn.Module = MODELS.build(complete_model_cfg(config.model_cfg.model_dump(), dataset_name))
    takes, read = getattr(model, "modalities", 1), config.data_cfg.modalities
    if takes != read:
        raise UserError(
            f"data_cfg.data_in_use reads {read} file(s) of a sequence, but the model {config.model_cfg.model} takes "
            f"{takes}: set as many entries to true"
        )
    return model.to(device)


def check_classes(model: nn.Module, data: Data) -> None:
    """Refuse a class head that is smaller than the number of training ids.

    Raises:
        UserError: it is.
    """
    classes, people = getattr(model, "class_num", None), len(data.train_ids)
    if classes is not None and classes < people:
        raise UserError(f"model_cfg: class_num is {classes}, but {people} ids train; set it to {people} or more")


def freeze(model: nn.Module, patterns: list[str]) -> None:
    """Exclude the weights whose names fit a pattern from training.

    Raises:
        UserError: a pattern fits no name, or nothing is left to train.
    """
    named = dict(model.named_parameters())
    for pattern in patterns:
        fits = fnmatch.filter(named, pattern)
        if not fits:
            raise UserError(
                f"trainer_cfg.freeze: no weight's name fits {pattern!r}; the names begin with "
                f"{', '.join(dict.fromkeys(name.partition('.')[0] for name in named))}"
            )
        for name in fits:
            named[name].requires_grad_(False)
    if patterns and not any(p.requires_grad for p in named.values()):
        raise UserError(f"trainer_cfg.freeze: {patterns} leaves nothing to train")


def build_optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser over the parameters that want a gradient; in its fused form, unless the user chose a form."""
    section = config.optimizer_cfg
    groups = parameter_groups(config, model)
    parameters = [p for group in groups for p in group["params"]]
    keywords = section.keywords
    chosen = any(keywords.get(name) is not None for name in ("fused", "foreach", "differentiable"))
    fused = section.solver in _FUSED and not chosen and all(p.device.type in ("cpu", "cuda") for p in parameters)
    if not fused:  # PyTorch takes the foreach form by itself where it is faster
        return OPTIMIZERS[section.solver](groups, lr=section.lr, **keywords)
    return OPTIMIZERS[section.solver](groups, lr=section.lr, **{**keywords, "fused": True})


def step_unless(left_out: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take an optimiser's step, unless a bool without dimensions is true: then nothing changes.

    PyTorch's fused forms decide on the device, as they do for a loss scaler. Others count their steps on the host,
    which has to wait for the decision; so does SGD with dampening, whose first step is unlike the others.
    """
    if not all(group.get("fused") and not group.get("dampening") for group in optimizer.param_groups):
        if not left_out:
            optimizer.step()
        return
    _start_momentum(optimizer)
    fused: Any = optimizer
    fused.grad_scale, fused.found_inf = None, left_out.float()
    optimizer.step()
    del fused.grad_scale, fused.found_inf


def _start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Set momentum that does not exist yet to zero: the fused SGD would leave it uninitialised in a step left out."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            state = optimizer.state[parameter]
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state, which any form (fused, foreach, plain) of its class may have written.

    Raises:
        ValueError: it does not fit.
    """
    forms = [{name: group[name] for name in ("fused", "foreach") if name in group} for group in optimizer.param_groups]
    groups = [{**group, **form} for group, form in zip(state["param_groups"], forms, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})


def build_scheduler(config: Config, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Build the learning rate's schedule.

    Raises:
        UserError: it ends before the run does.
    """
    section = config.scheduler_cfg
    keywords = rates_of_groups(config, optimizer.param_groups)
    scheduler: torch.optim.lr_scheduler.LRScheduler = SCHEDULERS[section.scheduler](optimizer, **keywords)
    steps, wanted = getattr(scheduler, "total_steps", None), config.trainer_cfg.total_iter
    if isinstance(steps, int) and steps < wanted:
        raise UserError(
            f"scheduler_cfg: {section.scheduler} ends after {steps} steps, but trainer_cfg.total_iter is {wanted}; "
            f"set both to the same number"
        )
    return scheduler
