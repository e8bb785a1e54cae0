"""Checks of the components that a configuration names, before any data is read."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, get_args

import numpy as np
import torch

from dygait.config.schema import Feature
from dygait.config_problems import Problem, suggest
from dygait.data.samplers import SAMPLERS, InferenceSampler, TrainingSampler, TripletSampler, views_of
from dygait.data.transforms import build_transform, transform_problems
from dygait.errors import UserError
from dygait.evaluation import name_problems, resolve_protocol
from dygait.losses import LOSSES, loss_problems
from dygait.modeling import MODELS, GaitOutput, complete_model_cfg
from dygait.modeling.dry_run import dry_run
from dygait.runs.networks import needs_classes
from dygait.training.optimizers import OPTIMIZERS
from dygait.training.schedules import SCHEDULERS


def _class_problems(
    section: Mapping[str, Any], key: str, kind: str, module: ModuleType, classes: Mapping[str, type], argument: Any
) -> list[Problem]:
    """Check a section that names a class of PyTorch under `key`, and its keywords, which the constructor checks.

    `kind` and `module` describe the class in messages; `argument` is the first argument of the constructor.
    """
    name = section.get(key)
    if not isinstance(name, str) or name not in classes:
        return [Problem((key,), f"unknown {kind} {name!r}{suggest(str(name), classes)} (a class of {module.__name__})")]
    keywords = {k: v for k, v in section.items() if k not in (key, "param_groups")}
    valid = [n for n in inspect.signature(classes[name]).parameters if n not in ("params", "optimizer")]
    unknown = [k for k in keywords if k not in valid]
    valid_keys = f"; valid keys: {', '.join(sorted([*valid, key]))}"
    problems = [Problem((str(k),), f"unknown key{suggest(str(k), valid) or valid_keys}") for k in unknown]
    if not problems and isinstance(keywords.get("lr", 0.0), (int, float)):  # else the schema reports it
        try:
            classes[name](argument, **keywords)
        except Exception as error:  # constructors raise anything
            problems.append(Problem((key,), f"{name} refuses its settings: {error}"))
    return problems


def _optimizer_problems(section: Mapping[str, Any]) -> list[Problem]:
    solver, groups = section.get("solver"), section.get("param_groups")
    problems = _class_problems(section, "solver", "optimiser", torch.optim, OPTIMIZERS, [torch.zeros(1)])
    if not isinstance(solver, str) or solver not in OPTIMIZERS:
        return problems
    unsupported = {"lr", "weight_decay"} - inspect.signature(OPTIMIZERS[solver]).parameters.keys()
    for index, group in enumerate(groups if isinstance(groups, list) else []):
        invalid = sorted(unsupported & group.keys()) if isinstance(group, Mapping) else []
        problems += [Problem(("param_groups", str(index), key), f"{solver} has no {key}") for key in invalid]
    return problems


def _scheduler_problems(section: Mapping[str, Any]) -> list[Problem]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    return _class_problems(section, "scheduler", "scheduler", torch.optim.lr_scheduler, SCHEDULERS, optimizer)


def _possible_inputs(model_cfg: Mapping[str, Any], sections: Mapping[str, Any]) -> list[list[tuple[int, int]]]:
    """Return the possible input sizes of a model, each as (H, W) of every modality.

    `input_size` or, since the size of the frames is not known before the data is read, what the transforms make of
    64x64 and 128x128.
    """
    in_use = sections.get("data_cfg", {}).get("data_in_use")
    files = sum(use is True for use in in_use) if isinstance(in_use, list) else 1
    transforms = sections.get("trainer_cfg", {}).get("transform")
    modalities = len(transforms) if files > 1 and isinstance(transforms, list) else 1
    size = model_cfg.get("input_size")
    if size is not None:
        is_valid = isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)
        return [[(size[0], size[1])] * modalities] if is_valid else []  # the schema reports it
    chains = transforms if modalities > 1 else [transforms]
    if transform_problems(transforms) or modalities not in (1, files):
        return []  # reported elsewhere
    sizes = []
    for side in (64, 128):
        frames = np.zeros((1, side, side), np.uint8)
        with contextlib.suppress(UserError):  # frames of that size do not fit the transform
            shapes = [build_transform(chain)(frames, np.random.default_rng(0)).shape for chain in chains]
            sizes.append([(int(shape[-2]), int(shape[-1])) for shape in shapes])
    return sizes


def _model_problems(sections: Mapping[str, Any], terms: Sequence[Any]) -> list[Problem]:
    """Build the model and run it once on fake tensors; check that it has the outputs that the losses read."""
    name = sections.get("data_cfg", {}).get("dataset_name")
    model_cfg = sections["model_cfg"]
    names = {index: term.get("type") for index, term in enumerate(terms) if isinstance(term, Mapping)}
    reads = {index: LOSSES.get(n).reads for index, n in names.items() if isinstance(n, str) and n in LOSSES}
    classes = 2 if needs_classes(model_cfg, reads.values()) else None  # the true number is known with the data
    model_cfg = complete_model_cfg(model_cfg, name if isinstance(name, str) else None, classes)
    sampler = sections.get("trainer_cfg", {}).get("sampler")
    frames = sampler.get("frames_num_fixed") if isinstance(sampler, Mapping) else None
    frames = frames if isinstance(frames, int) and 0 < frames < 1000 else 30
    problems: list[Problem] = []
    for sizes in _possible_inputs(model_cfg, sections) or [[(64, 44)]]:
        output, size_problems = dry_run(model_cfg, None, sizes, frames)
        problems = problems or size_problems
        if not size_problems:
            without, message = _terms_without_logits([i for i, field in reads.items() if field == "logits"], output)
            missing = [Problem(("loss_cfg", str(i), "type"), f"{terms[i]['type']} {message}") for i in without]
            return missing + _feature_problems(sections, output)
    return [Problem(("model_cfg", *p.path), p.message) for p in problems]


def _feature_problems(sections: Mapping[str, Any], output: GaitOutput | None) -> list[Problem]:
    """Check that a model's output, unless it is unknown, has the feature that a test compares."""
    feature, names = sections.get("evaluator_cfg", {}).get("feature"), get_args(Feature)
    if output is None or feature not in names or getattr(output, feature) is not None:
        return []
    choices = " or ".join(name for name in names if getattr(output, name) is not None)
    message = f"the model gives no {feature} with these settings; choose {choices}"
    return [Problem(("evaluator_cfg", "feature"), message)]


def _terms_without_logits(terms: list[int], output: GaitOutput | None) -> tuple[list[int], str]:
    """Return which of the terms that read logits get none from a model's output, and why."""
    if output is None or output.logits is not None:
        return [], ""
    if output.predictions is None:
        return terms, "reads logits, and the model gives none: set class_num in model_cfg, or remove the term"
    views = output.predictions.shape[1]
    return terms[views:], f"reads logits, and there is one term for each of the {views} views already: remove the term"


def _view_problems(model: str, sampler: Mapping[str, Any]) -> list[Problem]:
    """Check that the sampler gives as many views of each sequence as the model compares."""
    views, name = getattr(MODELS.get(model), "views", 1) if model in MODELS else 1, sampler.get("type")
    if views == 1 or name not in SAMPLERS or views_of(str(name)) == views:
        return []
    fitting = [n for n in SAMPLERS.names() if views_of(n) == views]
    return [Problem(("type",), f"{model} compares {views} views of each sequence; use {', '.join(fitting)}")]


def _sampler_problems(sampler: Mapping[str, Any], section: str) -> list[Problem]:
    trains = section == "trainer_cfg"
    base, usual = (TrainingSampler, TripletSampler) if trains else (InferenceSampler, InferenceSampler)
    try:
        sampler_class = SAMPLERS.get(sampler["type"])
    except UserError as error:
        return [Problem(("type",), str(error))]
    if not issubclass(sampler_class, base):
        return [Problem(("type",), f"{sampler['type']} is not for {section}; use {usual.__name__}")]
    size, form = sampler.get("batch_size"), getattr(sampler_class, "batch_size_form", None)
    if isinstance(size, (int, list)) and form == ("[P, K]" if isinstance(size, int) else "a number"):
        return [Problem(("batch_size",), f"{sampler['type']} takes {form}, got {size}")]
    return []


def _protocol_problems(sections: Mapping[str, Any], phase: str) -> list[Problem]:
    data, evaluator = sections.get("data_cfg", {}), sections.get("evaluator_cfg", {})
    protocol = evaluator.get("protocol")
    if protocol is not None:
        is_named = isinstance(protocol, Mapping) and isinstance(protocol.get("name"), str)
        return [Problem(("protocol", "name"), p) for p in name_problems(protocol["name"])] if is_named else []
    function, tested = evaluator.get("eval_func"), data.get("test_dataset_name") or data.get("dataset_name")
    tests = phase == "test" or sections.get("trainer_cfg", {}).get("with_test")
    if tests and isinstance(tested, str) and isinstance(function, str | None):
        try:
            resolve_protocol(function, tested, bool(evaluator.get("cross_view_gallery")))
        except UserError as error:
            key, _, message = str(error).removeprefix("evaluator_cfg.").partition(": ")
            return [Problem((key,), message)]
    return []


def component_problems(merged: Mapping[str, Any], phase: str) -> list[Problem]:
    """Check the components that a configuration names: each is built, and the model runs once on fake tensors.

    Sections of the merged configuration with a wrong type are left to the schema. The protocol is checked in the phase
    `test`, and in `train` if `with_test` is set.
    """
    sections = {k: v for k, v in merged.items() if isinstance(v, Mapping)}
    terms = merged["loss_cfg"] if isinstance(merged.get("loss_cfg"), list) else []
    result: list[Problem] = []

    def add(path: tuple[str, ...], problems: list[Problem]) -> None:
        result.extend(Problem((*path, *p.path), p.message) for p in problems)

    if isinstance(model := sections.get("model_cfg", {}).get("model"), str):
        add((), _model_problems(sections, terms))
        sampler = sections.get("trainer_cfg", {}).get("sampler")
        add(("trainer_cfg", "sampler"), _view_problems(model, sampler) if isinstance(sampler, Mapping) else [])
    for index, term in enumerate(terms):
        if isinstance(term, Mapping) and "type" in term:
            add(("loss_cfg", str(index)), loss_problems(term))
    for section, check in (("optimizer_cfg", _optimizer_problems), ("scheduler_cfg", _scheduler_problems)):
        if section in sections:
            add((section,), check(sections[section]))
    for section in ("trainer_cfg", "evaluator_cfg"):
        content = sections.get(section, {})
        if "transform" in content:
            add((section, "transform"), transform_problems(content["transform"]))
        sampler = content.get("sampler")
        if isinstance(sampler, Mapping) and isinstance(sampler.get("type"), str):
            add((section, "sampler"), _sampler_problems(sampler, section))
    add(("evaluator_cfg",), _protocol_problems(sections, phase))
    return result
