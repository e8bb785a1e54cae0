"""The built-in protocols, and their resolution by name; one's own is declared in the same way, in YAML.

Types, ids and views are selected by shell patterns: ``nm-05`` matches itself, ``nm-*`` a prefix, ``*00-nm*`` a
substring, ``0[1-4]`` one of four.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dygait.config.load import read_yaml
from dygait.config.schema import Config, Protocol
from dygait.errors import UserError
from dygait.evaluation.submission import GREW_SUBMISSION, HID_SUBMISSION, SUBMISSIONS, Submission
from dygait.registry import Registry, validation_problems
from dygait.untrusted import at

PROTOCOLS: Registry[Protocol] = Registry("protocol")
"""The protocols; a dataset that shares the protocol of another is an alias."""


def _add(name: str, *aliases: str, **declaration: Any) -> None:
    PROTOCOLS.add(name, Protocol.model_validate({"name": name, **declaration}), aliases)


def _groups(**probe_types: str | list[str]) -> dict[str, Any]:
    return {name: {"probes": {"types": types}} for name, types in probe_types.items()}


_add(
    "CASIA-B",
    "SynGait",
    words="gallery nm-01..04, one view at a time; probes nm-05,06 / bg-01,02 / cl-01,02; identical view excluded",
    gallery={"types": ["nm-01", "nm-02", "nm-03", "nm-04"]},
    groups=_groups(NM=["nm-05", "nm-06"], BG=["bg-01", "bg-02"], CL=["cl-01", "cl-02"]),
    one_view_at_a_time=True,
    exclusion="identical view",
)
_add(
    "CASIA-B/cross-view",
    "SynGait/cross-view",
    words="gallery nm-02, bg-02, cl-02; probes nm-01 / bg-01 / cl-01; same id in the same view excluded",
    gallery={"types": ["nm-02", "bg-02", "cl-02"]},
    groups=_groups(NM="nm-01", BG="bg-01", CL="cl-01"),
    exclusion="same id in the same view",
    measures=["rank-1", "mAP"],
)
_OUMVLP_GROUPS = {
    "all probes": {"probes": {"types": "00"}, "unmatched": "counted as wrong"},
    "probes with a match": {"probes": {"types": "00"}},
}
_add(
    "OUMVLP",
    words="gallery sequence 01, one view at a time; probes sequence 00; identical view excluded",
    gallery={"types": "01"},
    groups=_OUMVLP_GROUPS,
    one_view_at_a_time=True,
    exclusion="identical view",
)
_add(
    "OUMVLP/cross-view",
    words="gallery sequence 01 of all views; probes sequence 00; same id in the same view excluded",
    gallery={"types": "01"},
    groups=_OUMVLP_GROUPS,
    exclusion="same id in the same view",
    measures=["rank-1", "mAP"],
)
_add(
    "GREW",
    words="local: gallery sequence 01 of each test id, probes sequence 02",
    gallery={"types": "01"},
    groups=_groups(probe="02"),
    measures=["rank-1", "rank-5", "rank-10", "rank-20"],
)
_add(
    "Gait3D",
    "Gait3D-128pixel",
    words="probes the sequences of PROBE_SET, gallery the rest of the test set",
    gallery={"listed": False},
    groups={"probe": {"probes": {"listed": True}}},
    measures=["rank-1", "rank-5", "rank-10", "mAP", "mINP"],
)
_add(
    "FreeGait",
    words="probes the sequences of PROBE_SET, gallery the rest of the test set",
    gallery={"listed": False},
    groups={"probe": {"probes": {"listed": True}}},
    measures=["rank-1", "rank-5", "rank-10", "mAP", "mINP"],
)
_add(
    "CCGR-Mini",
    "CCGR-MINI",
    words="gallery the sequences of GALLERY_SET, probes the rest of the test set",
    gallery={"listed": True, "listed_in": "GALLERY_SET"},
    groups={"probe": {"probes": {"listed": False, "listed_in": "GALLERY_SET"}}},
    measures=["rank-1", "rank-5", "rank-10", "mAP", "mINP"],
)
_add(
    "CASIA-E",
    words="gallery scene 1, nm 1 and 2, one view at a time; probes nm, bg and cl 1 and 2 of scenes 2, 3 and 3_s; from "
    "either height; identical view excluded, and 270; a probe without a match counted as wrong",
    gallery={"types": "[HL]-scene1-nm-[12]", "not_views": "270"},
    groups={
        name: {
            "probes": {"types": [f"[HL]-scene{s}-{name.lower()}-[12]" for s in ("2", "3", "3_s")], "not_views": "270"},
            "unmatched": "counted as wrong",
        }
        for name in ("NM", "BG", "CL")
    },
    one_view_at_a_time=True,
    exclusion="identical view",
)
_add(
    "SUSTech1K",
    words="gallery sequences of the types that hold 00-nm, one view at a time; probes by what their types hold: "
    "01-nm, bg, cl, cr, ub, uf, oc, nt, and all of 01 to 04; identical view excluded",
    gallery={"types": "*00-nm*"},
    groups=_groups(
        Normal="*01-nm*",
        Bag="*bg*",
        Clothing="*cl*",
        Carrying="*cr*",
        Umbrella="*ub*",
        Uniform="*uf*",
        Occlusion="*oc*",
        Night="*nt*",
        Overall=["*01*", "*02*", "*03*", "*04*"],
    ),
    one_view_at_a_time=True,
    exclusion="identical view",
    measures=["rank-1", "rank-5"],
)


def _ccpg(unmatched: str) -> dict[str, Any]:
    return {
        "gallery": {"types": ["U1_D1", "U2_D2", "U3_D3", "U0_D3", "U0_D0"]},
        "groups": {
            name: {"probes": {"types": probes}, "gallery": {"types": gallery}, "unmatched": unmatched}
            for name, probes, gallery in (
                ("CL", ["U0_D0_BG", "U0_D0"], ["U1_D1", "U2_D2", "U3_D3"]),
                ("UP", "U3_D3", "U0_D3"),
                ("DN", "U1_D0", "U1_D1"),
                ("BG", "U0_D0_BG", "U0_D0"),
            )
        },
        "view_until": "_",
    }


_CCPG_DESCRIPTION = (
    "CL probes U0_D0_BG, U0_D0 and gallery U1_D1, U2_D2, U3_D3; UP U3_D3 and U0_D3; DN U1_D0 and U1_D1; "
    "BG U0_D0_BG and U0_D0"
)
_add(
    "CCPG/re-identification",
    "CCPG",
    words=f"{_CCPG_DESCRIPTION}; whole gallery, same id by the same camera excluded (as in person re-identification)",
    exclusion="same id in the same view",
    measures=["rank-1", "mAP", "mINP"],
    **_ccpg("left out"),
)
_add(
    "CCPG/gait",
    "CCPG/single-view",
    words=f"{_CCPG_DESCRIPTION}; one camera at a time, identical camera excluded (as in gait recognition); a probe "
    "without a match counted as wrong",
    one_view_at_a_time=True,
    exclusion="identical view",
    **_ccpg("counted as wrong"),
)
_add(
    "Scoliosis1K",
    words="classes by type: negative, neutral, positive; the largest logit, mean over parts",
    classes=["negative", "neutral", "positive"],
)
_TOGETHER = {"CCPG": ("CCPG/re-identification", "CCPG/gait")}
"""The names that stand for several protocols, all of which a test reports; in Python, for the first."""


def protocols_named(name: str) -> list[Protocol]:
    """Return the protocols that a name stands for, of which the first is the dataset's usual one."""
    return [PROTOCOLS.get(one) for one in _TOGETHER.get(name, (name,))]


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
_NOT_BUILT = ("evaluate_segmentation",)


def resolve_protocol(eval_func: str | None, dataset_name: str, cross_view_gallery: bool = False) -> str:
    """Return the name of a configuration's protocol, of `protocols_named` or `SUBMISSIONS`.

    Args:
        eval_func: `evaluator_cfg.eval_func`: a function name of OpenGait or DyGait, or the name of a protocol; None for
            the protocol of the dataset.
        dataset_name: `data_cfg.test_dataset_name`, or `dataset_name`.

    Raises:
        UserError: the name is unknown or not implemented, or does not fit the dataset.
    """
    own = _resolved(dataset_name) if dataset_name in PROTOCOLS else None
    protocol = _by_eval_func(eval_func, dataset_name, own)
    if not cross_view_gallery or protocol.endswith("/cross-view"):
        return protocol
    if f"{protocol}/cross-view" not in PROTOCOLS:
        raise UserError(
            f"evaluator_cfg.cross_view_gallery: the protocol {protocol!r} has no cross-view form; set it to false"
        )
    return f"{protocol}/cross-view"


def _resolved(name: str) -> str:
    return name if name in _TOGETHER else PROTOCOLS.resolve(name)


def _by_eval_func(eval_func: str | None, dataset_name: str, own: str | None) -> str:
    if eval_func is None:
        if own is not None:
            return own
        why = f"the dataset {dataset_name!r} has no protocol of its own"
    elif eval_func in PROTOCOLS:
        return _resolved(eval_func)
    elif eval_func in SUBMISSIONS:
        return eval_func
    elif eval_func in _EVAL_FUNCTIONS:
        meant = _EVAL_FUNCTIONS[eval_func]
        # A dataset with an unknown name may have the layout of the only protocol.
        fitting = [name for name in meant if own in (name.partition("/")[0], None)]
        if len(fitting) == 1:
            return fitting[0]
        why = f"{eval_func} is for {', '.join(meant)}, not for the dataset {dataset_name!r}"
    else:
        why = f"{eval_func} is not implemented" if eval_func in _NOT_BUILT else f"unknown {eval_func!r}"
    choices = ", ".join([*sorted(_EVAL_FUNCTIONS), *PROTOCOLS.names(), *SUBMISSIONS])
    raise UserError(f"evaluator_cfg.eval_func: {why}; choose one of {choices}")


def configured_name(config: Config) -> str:
    """Return the name of a configuration's protocol, which may stand for several; UserError as `resolve_protocol`."""
    data, evaluator = config.data_cfg, config.evaluator_cfg
    if evaluator.protocol is not None:
        return evaluator.protocol.name
    dataset = data.test_dataset_name or data.dataset_name
    return resolve_protocol(evaluator.eval_func, dataset, evaluator.cross_view_gallery)


def configured_protocols(config: Config) -> list[Protocol] | Submission:
    """Return the protocols of a configuration, or the submission; UserError as `resolve_protocol`."""
    own, name = config.evaluator_cfg.protocol, configured_name(config)
    if name in SUBMISSIONS:
        return SUBMISSIONS[name]
    protocols = protocols_named(name) if own is None else [own]
    return [one.without_unmatched() for one in protocols] if config.data_cfg.remove_no_gallery else protocols


def classification_of(config: Config) -> Protocol | None:
    """Return the protocol of a configuration if it is a classification, whose classes the logits then learn."""
    try:
        protocols = configured_protocols(config)
    except UserError:  # a run that only trains needs no protocol
        return None
    return protocols[0] if isinstance(protocols, list) and protocols[0].classes is not None else None


def protocols_of(name_or_file: str | None, origin: Mapping[str, Any], features: Path) -> list[Protocol]:
    """Return the protocols of a name or of a YAML file; without one, those of the features' configuration."""
    if name_or_file is not None and name_or_file.endswith((".yaml", ".yml")):
        return [declared_protocol(read_yaml(Path(name_or_file)), name_or_file)]
    own = at(origin, "config", "evaluator_cfg", "protocol")
    if name_or_file is None and own is not None:
        return [declared_protocol(own, f"{features}: the protocol")]
    name = name_or_file or origin.get("protocol")
    if not isinstance(name, str):
        raise UserError(f"{features} does not name its protocol; set --protocol: {', '.join(PROTOCOLS.names())}")
    name = resolve_protocol(name, "")
    if name not in PROTOCOLS:
        raise UserError(f"{name} has no measures to report; set --protocol: {', '.join(PROTOCOLS.names())}")
    return protocols_named(name)
