"""Checks of a configuration against the registries and the signatures of what is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from dygait.data import (
    SAMPLERS,
    InferenceSampler,
    TrainingSampler,
    TripletSampler,
    transform_problems,
)
from dygait.errors import UserError
from dygait.evaluation import name_problems, resolve_protocol
from dygait.losses import loss_problems
from dygait.modeling import MODELS, complete_model_cfg
from dygait.registry import Problem, suggest
from dygait.training.optimizers import OPTIMIZERS, SCHEDULERS


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
                size, form = sampler.get("batch_size"), getattr(chosen, "batch_size_form", None)
                if isinstance(size, (int, list)) and form == ("[P, K]" if isinstance(size, int) else "a number"):
                    add(
                        (section, "sampler", "batch_size"),
                        [Problem((), f"{sampler['type']} takes {form}, got {size}")],
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
