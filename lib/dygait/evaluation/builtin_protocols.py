"""The built-in protocols, of `protocols.yaml`, and their resolution by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dygait.config.load import read_yaml
from dygait.config.schema import Config, Protocol
from dygait.config_problems import validation_problems
from dygait.errors import UserError
from dygait.evaluation.submission import GREW_SUBMISSION, HID_SUBMISSION, SUBMISSIONS, Submission
from dygait.registry import Registry
from dygait.untrusted import at

PROTOCOLS: Registry[Protocol] = Registry("protocol")
"""The protocols; a dataset that shares the protocol of another is an alias."""


for _name, _declaration in read_yaml(Path(__file__).with_name("protocols.yaml")).items():
    _aliases = _declaration.pop("aliases", [])
    PROTOCOLS.add(_name, Protocol.model_validate({"name": _name, **_declaration}), _aliases)
_COMBINED = {"CCPG": ("CCPG/re-identification", "CCPG/gait")}
"""Names of several protocols, all of which a test reports; in Python, such a name means the first."""


def protocols_named(name: str) -> list[Protocol]:
    """Return the protocols of a name; the first is the usual one of its dataset."""
    return [PROTOCOLS.get(member) for member in _COMBINED.get(name, (name,))]


def as_protocol(protocol: str | Protocol | Mapping[str, Any]) -> Protocol:
    """Return the protocol of a name, or of a mapping as `evaluator_cfg.protocol`; UserError if there is none."""
    if isinstance(protocol, str):
        return PROTOCOLS.get(protocol)
    return protocol if isinstance(protocol, Protocol) else declared_protocol(protocol)


def declared_protocol(declaration: Mapping[str, Any], where: str = "protocol") -> Protocol:
    """Return the protocol that a mapping, as `evaluator_cfg.protocol`, declares; `where` is its key or file.

    Raises:
        UserError: keys are unknown, missing or not valid; all are listed with their paths.
    """
    try:
        protocol = Protocol.model_validate(declaration)
    except ValidationError as error:
        problems = validation_problems(error, Protocol)
        lines = dict.fromkeys(f"{where}: {'.'.join(p.path) or 'it'}: {p.message}" for p in problems)
        raise UserError("\n  ".join(lines)) from None
    for problem in name_problems(protocol.name):
        raise UserError(f"{where}: name: {problem}")
    return protocol


def name_problems(name: str) -> list[str]:
    """Return the problems of the name of a user's protocol, except its form."""
    if name in PROTOCOLS or name in SUBMISSIONS:
        return [f"{name!r} is a built-in protocol; choose another name, so that results are not confused"]
    return []


# The eval_func names of OpenGait and DyGait, and the protocols that each can mean.
_EVAL_FUNCTIONS = {
    "evaluate_indoor_dataset": ("CASIA-B", "OUMVLP", "CASIA-E", "SUSTech1K"),
    "evaluate_real_scene": ("GREW",),
    "identification_real_scene": ("GREW",),
    "evaluate_Gait3D": ("Gait3D",),
    "evaluation_Gait3D": ("Gait3D",),
    "evaluate_CCPG": ("CCPG",),
    "evaluate_scoliosis": ("Scoliosis1K",),
    "evaluate_FreeGait": ("FreeGait",),
    "evaluate_CCGR_MINI": ("CCGR-Mini",),
    "GREW_submission": (GREW_SUBMISSION.name,),
    "identification_GREW_submission": (GREW_SUBMISSION.name,),
    "HID_submission": (HID_SUBMISSION.name,),
}
_NOT_IMPLEMENTED = ("evaluate_segmentation",)


def resolve_protocol(eval_func: str | None, dataset_name: str, cross_view_gallery: bool = False) -> str:
    """Return the name of a configuration's protocol, of `protocols_named` or `SUBMISSIONS`.

    Args:
        eval_func: `evaluator_cfg.eval_func`: a function name of OpenGait or DyGait, or the name of a protocol; None for
            the protocol of the dataset.
        dataset_name: `data_cfg.test_dataset_name`, or `dataset_name`.

    Raises:
        UserError: the name is unknown or not implemented, or does not fit the dataset.
    """
    default = _resolved_name(dataset_name) if dataset_name in PROTOCOLS else None
    protocol = _by_eval_func(eval_func, dataset_name, default)
    if not cross_view_gallery or protocol.endswith("/cross-view"):
        return protocol
    if f"{protocol}/cross-view" not in PROTOCOLS:
        raise UserError(
            f"evaluator_cfg.cross_view_gallery: the protocol {protocol!r} has no cross-view form; set it to false"
        )
    return f"{protocol}/cross-view"


def _resolved_name(name: str) -> str:
    return name if name in _COMBINED else PROTOCOLS.resolve(name)


def _by_eval_func(eval_func: str | None, dataset_name: str, default: str | None) -> str:
    if eval_func is None:
        if default is not None:
            return default
        reason = f"the dataset {dataset_name!r} has no protocol of its own"
    elif eval_func in PROTOCOLS:
        return _resolved_name(eval_func)
    elif eval_func in SUBMISSIONS:
        return eval_func
    elif eval_func in _EVAL_FUNCTIONS:
        candidates = _EVAL_FUNCTIONS[eval_func]
        # A dataset with an unknown name may have the layout of the only protocol.
        matching = [name for name in candidates if default in (name.partition("/")[0], None)]
        if len(matching) == 1:
            return matching[0]
        reason = f"{eval_func} is for {', '.join(candidates)}, not for the dataset {dataset_name!r}"
    else:
        reason = f"{eval_func} is not implemented" if eval_func in _NOT_IMPLEMENTED else f"unknown {eval_func!r}"
    choices = ", ".join([*sorted(_EVAL_FUNCTIONS), *PROTOCOLS.names(), *SUBMISSIONS])
    raise UserError(f"evaluator_cfg.eval_func: {reason}; choose one of {choices}")


def configured_name(config: Config) -> str:
    """Return the name of a configuration's protocol or protocols; UserError as `resolve_protocol`."""
    data, evaluator = config.data_cfg, config.evaluator_cfg
    if evaluator.protocol is not None:
        return evaluator.protocol.name
    dataset = data.test_dataset_name or data.dataset_name
    return resolve_protocol(evaluator.eval_func, dataset, evaluator.cross_view_gallery)


def configured_protocols(config: Config) -> list[Protocol] | Submission:
    """Return the protocols of a configuration, or the submission; UserError as `resolve_protocol`."""
    declared, name = config.evaluator_cfg.protocol, configured_name(config)
    if name in SUBMISSIONS:
        return SUBMISSIONS[name]
    protocols = protocols_named(name) if declared is None else [declared]
    return [protocol.without_unmatched() for protocol in protocols] if config.data_cfg.remove_no_gallery else protocols


def classification_of(config: Config) -> Protocol | None:
    """Return the protocol of a configuration if it is a classification of the logits, else None."""
    try:
        protocols = configured_protocols(config)
    except UserError:  # a run that only trains needs no protocol
        return None
    return protocols[0] if isinstance(protocols, list) and protocols[0].classes is not None else None


def protocols_of(name_or_file: str | None, origin: Mapping[str, Any], features: Path) -> list[Protocol]:
    """Return the protocols of a name or of a YAML file; if it is None, those of the features' configuration."""
    if name_or_file is not None and name_or_file.endswith((".yaml", ".yml")):
        return [declared_protocol(read_yaml(Path(name_or_file)), name_or_file)]
    declared = at(origin, "config", "evaluator_cfg", "protocol")
    if name_or_file is None and declared is not None:
        return [declared_protocol(declared, f"{features}: the protocol")]
    name = name_or_file or origin.get("protocol")
    if not isinstance(name, str):
        raise UserError(f"{features} does not name its protocol; set --protocol: {', '.join(PROTOCOLS.names())}")
    name = resolve_protocol(name, "")
    if name not in PROTOCOLS:
        raise UserError(f"{name} has no measures to report; set --protocol: {', '.join(PROTOCOLS.names())}")
    return protocols_named(name)
