"""The configuration reference, generated from what the code declares.

    python scripts/generate_configuration_reference.py            # write docs/configuration.md
    python scripts/generate_configuration_reference.py --check    # exit code 1 if it is not what would be written

Keys, types and meanings come from `dygait.config.schema`, the keywords of components from their signatures and the
`Args:` of their docstrings, defaults from `configs/default.yaml` where it names the key, else from the declaration.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from common import ROOT
from dygait.config import opengait_keys
from dygait.config.load import configs_folder, read_yaml
from dygait.config.schema import (
    Config,
    DataCfg,
    EvaluatorCfg,
    InferenceSamplerCfg,
    LossCfg,
    ModelCfg,
    OptimizerCfg,
    ParamGroupCfg,
    ProbeGroup,
    Protocol,
    SchedulerCfg,
    Selector,
    TrainerCfg,
    TrainSamplerCfg,
    TransformCfg,
)
from dygait.data.partition import BUILT_IN_PARTITIONS
from dygait.data.samplers import SAMPLERS
from dygait.data.transforms import TRANSFORMS
from dygait.losses import LOSSES
from dygait.modeling import MODELS
from dygait.registry import Registry
from dygait.synthetic.world import World

REQUIRED = "required"
_BUILT_IN = {str: "string", int: "integer", float: "number", bool: "true or false", Any: "anything"}
_PLURALS = {"string": "strings", "integer": "integers", "number": "numbers", "mapping": "mappings"}
_ARGUMENT = re.compile(r"    (\w+): (.*)")

_INTRODUCTION = """\
# Configuration

Every key of a configuration file. This page is generated from the code by
`python scripts/generate_configuration_reference.py`, and a test compares the two.

An experiment is a YAML file of sections. What applies is put together in this order, the later over the earlier:

1. `configs/default.yaml`, found beside the package wherever it is run;
2. the file that the top-level key `base` names, if there is one: relative to the file that names it, and it may have a
   `base` of its own;
3. the file itself, given with `--cfgs`;
4. each `--set section.key=value`, the value read as YAML: `--set optimizer_cfg.lr=1e-3`,
   `--set "trainer_cfg.sampler.batch_size=[4, 4]"`; and `--iter N`, which is `trainer_cfg.restore_hint=N` in training
   and `evaluator_cfg.restore_hint=N` in testing.

Mappings are merged key by key, with two exceptions. A list is replaced whole, `loss_cfg` too (one mapping is read as a
list of one). And naming another `model`, `solver` or `scheduler` starts `model_cfg`, `optimizer_cfg` or `scheduler_cfg`
afresh, so that a default of one optimiser does not reach another.

Everything is checked before any data is read: each component is built, and the model runs one forward pass on tensors
without memory. An unknown key, a wrong type, a name that is not registered and sizes that do not fit are reported at
once for all sections, each with the file, the key's path and the nearest valid name, and the run ends with exit code 2.
Sizes that follow from others (`in_channels` and `parts_num` of SeparateFCs and SeparateBNNecks) may be left out, and
`class_num`, which is then the number of the partition's training ids; where given, they must fit. A whole number will
do where a number is wanted; `"3"` in quotes will not do where 3 is. The result is written to the run's folder as
`logs/config_train.yaml` or `logs/config_test.yaml`, which are configuration files too.
"""


def document() -> str:
    """Return the whole page as Markdown."""
    default = read_yaml(configs_folder() / "default.yaml")
    trainer, evaluator = default["trainer_cfg"], default["evaluator_cfg"]
    parts = [
        _INTRODUCTION,
        f"## custom_imports\n\n{Config.model_fields['custom_imports'].description} See "
        "[adding_a_model.md](adding_a_model.md).\n",
        _section("data_cfg", DataCfg, default["data_cfg"]),
        f"Built-in partitions: {_names(BUILT_IN_PARTITIONS)}. Another dataset needs a JSON file:\n"
        '`{"TRAIN_SET": ["001", ...], "TEST_SET": [...], "PROBE_SET": ["id-type-view", ...]}`, PROBE_SET where the '
        "protocol needs one.\n",
        _section("data_cfg.syngait", World, {}, "What they show: [syngait.md](syngait.md#knobs)."),
        *(
            _section(f"data_cfg.syngait.{name}", hint, {})
            for name, hint in get_type_hints(World).items()
            if _is_schema(hint)
        ),
        _section("model_cfg", ModelCfg, {}),
        _components(MODELS),
        _section("loss_cfg", LossCfg, {}, "A list of terms, which are added; each is a mapping."),
        f"Absent: {_default(default['loss_cfg'])}.\n",
        _components(LOSSES),
        _section("optimizer_cfg", OptimizerCfg, default["optimizer_cfg"]),
        "Any optimiser of `torch.optim` but LBFGS, whose step needs a closure. Its keywords are those of the class.\n",
        _extra_defaults("optimizer_cfg", OptimizerCfg, default["optimizer_cfg"]),
        _section("optimizer_cfg.param_groups", ParamGroupCfg, {}, "A list of mappings."),
        _section("scheduler_cfg", SchedulerCfg, default["scheduler_cfg"]),
        "Any scheduler of `torch.optim.lr_scheduler` but ReduceLROnPlateau, which needs a metric. Its keywords are "
        "those of the class, counted in iterations.\n",
        _extra_defaults("scheduler_cfg", SchedulerCfg, default["scheduler_cfg"]),
        _section("trainer_cfg", TrainerCfg, trainer),
        _section("trainer_cfg.sampler", TrainSamplerCfg, trainer["sampler"]),
        _section("evaluator_cfg", EvaluatorCfg, evaluator),
        "The values of `eval_func` are in [evaluation.md](evaluation.md#protocols).\n",
        _section("evaluator_cfg.sampler", InferenceSamplerCfg, evaluator["sampler"]),
        _section("evaluator_cfg.protocol", Protocol, {}, "How to write one: [evaluation.md](evaluation.md)."),
        _section("evaluator_cfg.protocol.groups", ProbeGroup, {}, "A name for each of them."),
        _section("evaluator_cfg.protocol.gallery, probes", Selector, {}, "One pattern may stand without a list."),
        _samplers(),
        _section("trainer_cfg.transform, evaluator_cfg.transform", TransformCfg, trainer["transform"]),
        "A transform takes and gives uint8 silhouettes, the same change for every frame of a sequence (unless "
        "`per_frame` says otherwise); the division by `divisor` happens on the device. What the random ones change is "
        "a pure function of seed, iteration and position in the batch.\n",
        _components(TRANSFORMS),
        _without_effect(),
    ]
    return "\n".join(parts)


def _section(name: str, schema: type[BaseModel], defaults: Mapping[str, Any], more: str = "") -> str:
    text = " ".join(filter(None, [inspect.getdoc(schema), more]))
    rows = []
    hints = get_type_hints(schema)
    own_first = sorted(schema.model_fields.items(), key=lambda item: item[0] not in schema.__annotations__)
    for key, field in own_first:
        if _is_schema(hints[key]):
            default = "below"
        elif key in defaults:
            default = _default(defaults[key])
        elif field.is_required():
            default = REQUIRED
        else:
            default = _default(field.get_default(call_default_factory=True))
        rows.append((f"`{key}`", _type(hints[key]), default, field.description or ""))
    return f"## {name}\n\n{text}\n\n{_table(('key', 'type', 'default', 'meaning'), rows)}"


def _extra_defaults(section: str, schema: type[BaseModel], defaults: Mapping[str, Any]) -> str:
    """Return a sentence on the keywords of a component that `configs/default.yaml` sets besides the declared keys."""
    extra = {key: value for key, value in defaults.items() if key not in schema.model_fields}
    listed = ", ".join(f"`{key}` {_default(value)}" for key, value in extra.items())
    name = next(iter(defaults.values()))
    return f"Where {section} does not name another, {name} has {listed}.\n"


def _components(registry: Registry[Any]) -> str:
    return "\n".join(_component(name, registry.get(name)) for name in registry.names())


def _component(name: str, entry: Callable[..., Any]) -> str:
    meanings = arguments_of(entry)
    hints = get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)
    rows = [
        (
            f"`{key}`",
            _type(hints.get(key, Any)),
            REQUIRED if parameter.default is parameter.empty else _default(parameter.default),
            meanings.get(key, ""),
        )
        for key, parameter in inspect.signature(entry).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    table = _table(("keyword", "type", "default", "meaning"), rows) if rows else "No keywords.\n"
    chosen = getattr(entry, "chosen_by_dataset", None)
    if chosen:
        table += f"\nLeft out, {_names(chosen(''))} is chosen by `data_cfg.dataset_name`.\n"
    return f"### {name}\n\n{_summary(entry)}\n\n{table}"


def _samplers() -> str:
    lines = [f"- `{name}`: {_summary(SAMPLERS.get(name))}" for name in SAMPLERS.names()]
    return "\n".join(["### Samplers", "", *lines, ""])


def _opengait_keys() -> Iterator[tuple[str, str]]:
    """Yield each key or keyword that is translated or ignored, and what happens to it."""
    for path, reason in opengait_keys.WITHOUT_EFFECT.items():
        yield f"`{'.'.join(path)}`", reason
    for path, ours in opengait_keys.RENAMED_KEYS.items():
        yield f"`{'.'.join(path)}`", f"read as `{ours}`"
    yield "`trainer_cfg.T_max_iter` of `SwinGait`", "read as `scheduler_cfg` and `optimizer_cfg.param_groups`"
    for (name, key), reason in {**opengait_keys.IDLE_KEYWORDS, **opengait_keys.DROPPED_KEYWORDS}.items():
        yield f"`{key}` of `{name}`", reason
    for (name, key), ours in opengait_keys.RENAMED_KEYWORDS.items():
        yield f"`{key}` of `{name}`", f"read as `{ours}`"


def _without_effect() -> str:
    return (
        "## Known, without effect\n\nKeys of other tools' files that mean nothing here, or have another name. A "
        "warning is printed, and the run continues.\n\n" + _table(("key", "why"), list(_opengait_keys()))
    )


def arguments_of(entry: Any) -> dict[str, str]:
    """Return the meanings of an object's arguments: the `Args:` of its Google docstring, name -> text on one line."""
    meanings: dict[str, str] = {}
    name = None
    _, _, after = (inspect.getdoc(entry) or "").partition("\nArgs:\n")
    for line in after.splitlines():
        if line and not line.startswith(" "):
            break
        if match := _ARGUMENT.fullmatch(line):
            name, meanings[match[1]] = match[1], match[2][:1].upper() + match[2][1:]
        elif name and line.strip():
            meanings[name] += f" {line.strip()}"
    return meanings


def _summary(entry: Any) -> str:
    return (inspect.getdoc(entry) or "").partition("\n\n")[0].replace("\n", " ")


def _names(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _is_schema(annotation: Any) -> bool:
    # On Python 3.10 `list[int]` passes for a class.
    return get_origin(annotation) is None and inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _type(annotation: Any) -> str:
    """Return a description of an annotation: `integer`, `list of integer`, `"a" or "b"`; None is not mentioned."""
    if annotation in _BUILT_IN:
        return _BUILT_IN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(a) for a in arguments if a is not type(None)))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (list, tuple):
        element = _type(arguments[0])
        return f"list of {_PLURALS.get(element, element)}"
    if origin is dict or _is_schema(annotation):
        return "mapping"
    keys = getattr(annotation, "__annotations__", {})  # a TypedDict
    return f"mapping of {_names(keys)}"


def _default(value: Any) -> str:
    if value is None:
        return "absent"
    if isinstance(value, BaseModel):
        return _default(value.model_dump())
    return f"`{_flow(value)}`"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items() if inner is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join([*_table_lines(head, rows), ""])


def _table_lines(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def main() -> int:
    """Write the page, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/configuration.md.")
    parser.add_argument("--check", action="store_true", help="compare with the page instead of writing it")
    text, page = document(), ROOT / "docs" / "configuration.md"
    if not parser.parse_args().check:
        page.write_text(text, encoding="utf-8")
        return 0
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{page} is not current: run python {Path(__file__).name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
