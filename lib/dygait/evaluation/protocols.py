"""Evaluation protocols as data: which sequences are probes, which are the gallery, what is excluded, what is reported.

A protocol is a declaration and holds no code of its own, so that adding one is adding a declaration:

    PROTOCOLS.add("Mine", Protocol(name="Mine", gallery=Selector(types=("nm-*",)), ...))

or, in a configuration, `evaluator_cfg.protocol` (`declared`). Types, ids and views are chosen by shell patterns:
``nm-05`` is itself, ``nm-*`` a prefix, ``*00-nm*`` what holds 00-nm, ``0[1-4]`` one of four.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import Literal

import numpy as np

from dygait.errors import UserError
from dygait.evaluation.reranking import ReRank
from dygait.registry import Registry

Exclusion = Literal["nothing", "identical view", "same id in the same view"]
Unmatched = Literal["left out", "counted as wrong"]


@dataclass(frozen=True)
class Selector:
    """Chooses sequences; every criterion must hold.

    Attributes:
        types: shell patterns, one of which the type must match.
        ids: shell patterns for the id.
        views: shell patterns for the view.
        not_ids: shell patterns, none of which the id may match.
        listed: True for the sequences whose key ``id-type-view`` is in the partition's PROBE_SET, False for those whose
            key is not, None for both.
    """

    types: tuple[str, ...] = ("*",)
    ids: tuple[str, ...] = ("*",)
    views: tuple[str, ...] = ("*",)
    not_ids: tuple[str, ...] = ()
    listed: bool | None = None

    @property
    def words(self) -> str:
        """What is chosen, in words."""
        criteria = {"type": self.types, "id": self.ids, "view": self.views}
        said = [f"{name} {', '.join(patterns)}" for name, patterns in criteria.items() if patterns != ("*",)]
        if self.not_ids:
            said.append(f"not id {', '.join(self.not_ids)}")
        if self.listed is not None:
            said.append(f"what is {'' if self.listed else 'not '}in PROBE_SET")
        return " and ".join(said) or "every sequence"

    def select(
        self, ids: np.ndarray, types: np.ndarray, views: np.ndarray, probes: Collection[str] | None = None
    ) -> np.ndarray:
        """Return which sequences are chosen.

        Args:
            ids: (N,) names.
            types: (N,) names.
            views: (N,) names.
            probes: the PROBE_SET; needed where `listed` is not None.

        Returns:
            (N,) bool.
        """
        chosen = _matches(types, self.types) & _matches(ids, self.ids) & _matches(views, self.views)
        chosen &= ~_matches(ids, self.not_ids)
        if self.listed is not None:
            assert probes is not None
            chosen &= in_probe_list(ids, types, views, probes) == self.listed
        return chosen


@dataclass(frozen=True)
class ProbeGroup:
    """Probes that are reported together.

    Attributes:
        name: the group's name in the result.
        probes: which sequences.
        gallery: a gallery of its own; None stands for the protocol's.
        unmatched: what becomes of a probe without any true match.
    """

    name: str
    probes: Selector
    gallery: Selector | None = None
    unmatched: Unmatched = "left out"


@dataclass(frozen=True)
class Protocol:
    """How features become numbers.

    Attributes:
        name: as in the registry.
        words: the protocol in one sentence, for tables and reports.
        gallery: which sequences are the gallery.
        groups: the probe groups, in the order of the report.
        one_view_at_a_time: True where each view's gallery is searched alone and the result is the mean over probe views
            of the mean over gallery views; False where the whole gallery is searched at once and the result is the mean
            over probes.
        exclusion: which gallery sequences are not considered for a probe. By *view* is meant what `view_until` leaves.
        measures: what is reported, the first being the headline: ``rank-<k>``, ``mAP``, ``mINP``.
        view_until: views are told apart by what comes before the first of this in their names; None takes the whole
            name. With ``"_"``, the views 06_1 and 06_2 are one, the camera 06. Selectors see the whole name.
    """

    name: str
    words: str
    gallery: Selector
    groups: tuple[ProbeGroup, ...]
    one_view_at_a_time: bool = False
    exclusion: Exclusion = "nothing"
    measures: tuple[str, ...] = ("rank-1",)
    view_until: str | None = None

    def __post_init__(self) -> None:
        for name in self.measures:
            if not re.fullmatch(r"rank-[1-9]\d*|mAP|mINP", name):
                raise ValueError(f"protocol {self.name!r}: unknown measure {name!r}: rank-<k>, mAP or mINP")
        if not self.groups or not self.measures:
            raise ValueError(f"protocol {self.name!r} has no probe group, or no measure")
        if len({group.name for group in self.groups}) != len(self.groups):
            raise ValueError(f"protocol {self.name!r}: two probe groups of one name")

    @property
    def needs_probe_list(self) -> bool:
        """Whether the partition's PROBE_SET decides what is a probe."""
        selectors = [self.gallery, *(g.probes for g in self.groups), *(g.gallery for g in self.groups if g.gallery)]
        return any(s.listed is not None for s in selectors)

    def view_names(self, views: np.ndarray) -> np.ndarray:
        """Return the names by which the protocol tells views apart: (N,)."""
        if self.view_until is None or not len(views):
            return views
        return np.array([view.partition(self.view_until)[0] for view in views.tolist()], dtype=str)

    def without_unmatched(self) -> Protocol:
        """Return the protocol without the groups that count probes without a match (`remove_no_gallery`).

        Where no other group is left, they leave such probes out instead.
        """
        kept = tuple(g for g in self.groups if g.unmatched == "left out")
        return replace(self, groups=kept or tuple(replace(g, unmatched="left out") for g in self.groups))


@dataclass(frozen=True)
class Submission:
    """A ranking that someone else scores, because the probes' ids are not public.

    Attributes:
        name: how `resolve_protocol` names it.
        words: the protocol in one sentence.
        gallery: which sequences are the gallery.
        probes: which sequences are to be named. A probe's name is its view, or its type where views do not tell the
            probes apart.
        header: the first line of the CSV, a column each; the first is the probe's name, the others the ids of its
            nearest gallery sequences.
        numbers: whether ids are written as plain integers (00012 as 12), as the server wants them.
        re_rank: how distances are re-ranked, unless the user says otherwise; None leaves them.
    """

    name: str
    words: str
    gallery: Selector
    probes: Selector
    header: tuple[str, ...]
    numbers: bool = False
    re_rank: ReRank | None = None

    @property
    def ranks(self) -> int:
        """How many of the nearest gallery sequences are listed."""
        return len(self.header) - 1


def sequence_keys(ids: np.ndarray, types: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Return the ``id-type-view`` keys, as Gait3D's PROBE_SET writes them: (N,) names."""
    return np.array([f"{i}-{t}-{v}" for i, t, v in zip(ids, types, views, strict=True)], dtype=str)


def in_probe_list(ids: np.ndarray, types: np.ndarray, views: np.ndarray, probes: Collection[str]) -> np.ndarray:
    """Return which sequences a PROBE_SET names: (N,) bool."""
    return np.isin(sequence_keys(ids, types, views), np.array(sorted(set(probes)), dtype=str))


def _matches(names: np.ndarray, patterns: tuple[str, ...]) -> np.ndarray:
    if not patterns or not len(names):
        return np.zeros(len(names), dtype=bool)
    expression = re.compile("|".join(translate(p) for p in patterns))
    unique, inverse = np.unique(names, return_inverse=True)
    return np.array([expression.match(name) is not None for name in unique])[inverse.reshape(-1)]


PROTOCOLS: Registry[Protocol] = Registry("protocol")
"""The protocols; a dataset whose name is not its protocol's is an alias of it."""

PROTOCOLS.add(
    "CASIA-B",
    Protocol(
        name="CASIA-B",
        words="gallery nm-01..04, one view at a time; probes nm-05,06 / bg-01,02 / cl-01,02; identical view excluded",
        gallery=Selector(types=("nm-01", "nm-02", "nm-03", "nm-04")),
        groups=(
            ProbeGroup("NM", Selector(types=("nm-05", "nm-06"))),
            ProbeGroup("BG", Selector(types=("bg-01", "bg-02"))),
            ProbeGroup("CL", Selector(types=("cl-01", "cl-02"))),
        ),
        one_view_at_a_time=True,
        exclusion="identical view",
    ),
    aliases=("SynGait",),
)
PROTOCOLS.add(
    "CASIA-B/cross-view",
    Protocol(
        name="CASIA-B/cross-view",
        words="gallery nm-02, bg-02, cl-02; probes nm-01 / bg-01 / cl-01; same id in the same view excluded",
        gallery=Selector(types=("nm-02", "bg-02", "cl-02")),
        groups=(
            ProbeGroup("NM", Selector(types=("nm-01",))),
            ProbeGroup("BG", Selector(types=("bg-01",))),
            ProbeGroup("CL", Selector(types=("cl-01",))),
        ),
        exclusion="same id in the same view",
        measures=("rank-1", "mAP"),
    ),
    aliases=("SynGait/cross-view",),
)
PROTOCOLS.add(
    "OUMVLP",
    Protocol(
        name="OUMVLP",
        words="gallery sequence 01, one view at a time; probes sequence 00; identical view excluded",
        gallery=Selector(types=("01",)),
        groups=(
            ProbeGroup("all probes", Selector(types=("00",)), unmatched="counted as wrong"),
            ProbeGroup("probes with a match", Selector(types=("00",))),
        ),
        one_view_at_a_time=True,
        exclusion="identical view",
    ),
)
PROTOCOLS.add(
    "OUMVLP/cross-view",
    Protocol(
        name="OUMVLP/cross-view",
        words="gallery sequence 01 of all views; probes sequence 00; same id in the same view excluded",
        gallery=Selector(types=("01",)),
        groups=(
            ProbeGroup("all probes", Selector(types=("00",)), unmatched="counted as wrong"),
            ProbeGroup("probes with a match", Selector(types=("00",))),
        ),
        exclusion="same id in the same view",
        measures=("rank-1", "mAP"),
    ),
)
PROTOCOLS.add(
    "GREW",
    Protocol(
        name="GREW",
        words="local: gallery sequence 01 of each test id, probes sequence 02",
        gallery=Selector(types=("01",)),
        groups=(ProbeGroup("probe", Selector(types=("02",))),),
        measures=("rank-1", "rank-5", "rank-10", "rank-20"),
    ),
)
PROTOCOLS.add(
    "Gait3D",
    Protocol(
        name="Gait3D",
        words="probes the sequences of PROBE_SET, gallery the rest of the test set",
        gallery=Selector(listed=False),
        groups=(ProbeGroup("probe", Selector(listed=True)),),
        measures=("rank-1", "rank-5", "rank-10", "mAP", "mINP"),
    ),
    aliases=("Gait3D-128pixel",),
)

PROTOCOLS.add(
    "SUSTech1K",
    Protocol(
        name="SUSTech1K",
        words="gallery sequences of the types that hold 00-nm, one view at a time; probes by what their types hold: "
        "01-nm, bg, cl, cr, ub, uf, oc, nt, and all of 01 to 04; identical view excluded",
        gallery=Selector(types=("*00-nm*",)),
        groups=(
            ProbeGroup("Normal", Selector(types=("*01-nm*",))),
            ProbeGroup("Bag", Selector(types=("*bg*",))),
            ProbeGroup("Clothing", Selector(types=("*cl*",))),
            ProbeGroup("Carrying", Selector(types=("*cr*",))),
            ProbeGroup("Umbrella", Selector(types=("*ub*",))),
            ProbeGroup("Uniform", Selector(types=("*uf*",))),
            ProbeGroup("Occlusion", Selector(types=("*oc*",))),
            ProbeGroup("Night", Selector(types=("*nt*",))),
            ProbeGroup("Overall", Selector(types=("*01*", "*02*", "*03*", "*04*"))),
        ),
        one_view_at_a_time=True,
        exclusion="identical view",
        measures=("rank-1", "rank-5"),
    ),
)
_CCPG_GROUPS = tuple(
    ProbeGroup(name, Selector(types=probes), Selector(types=gallery))
    for name, probes, gallery in (
        ("CL", ("U0_D0_BG", "U0_D0"), ("U1_D1", "U2_D2", "U3_D3")),
        ("UP", ("U3_D3",), ("U0_D3",)),
        ("DN", ("U1_D0",), ("U1_D1",)),
        ("BG", ("U0_D0_BG",), ("U0_D0",)),
    )
)
_CCPG_WORDS = (
    "CL probes U0_D0_BG, U0_D0 and gallery U1_D1, U2_D2, U3_D3; UP U3_D3 and U0_D3; DN U1_D0 and U1_D1; "
    "BG U0_D0_BG and U0_D0"
)
PROTOCOLS.add(
    "CCPG",
    Protocol(
        name="CCPG",
        words=f"{_CCPG_WORDS}; whole gallery, same id by the same camera excluded (as in person re-identification)",
        gallery=Selector(types=("U1_D1", "U2_D2", "U3_D3", "U0_D3", "U0_D0")),
        groups=_CCPG_GROUPS,
        exclusion="same id in the same view",
        view_until="_",
        measures=("rank-1", "mAP", "mINP"),
    ),
)
PROTOCOLS.add(
    "CCPG/single-view",
    Protocol(
        name="CCPG/single-view",
        words=f"{_CCPG_WORDS}; one camera at a time, identical camera excluded",
        gallery=Selector(types=("U1_D1", "U2_D2", "U3_D3", "U0_D3", "U0_D0")),
        groups=_CCPG_GROUPS,
        one_view_at_a_time=True,
        exclusion="identical view",
        view_until="_",
    ),
)

GREW_SUBMISSION = Submission(
    name="GREW/submission",
    words="gallery sequences 01 and 02 of the test ids, probes the unlabelled sequences of the id 'probe'",
    gallery=Selector(types=("01", "02"), not_ids=("probe",)),
    probes=Selector(ids=("probe",), types=("03",)),
    header=("videoId", *(f"rank{k}" for k in range(1, 21))),
    numbers=True,
)
HID_SUBMISSION = Submission(
    name="HID/submission",
    words="gallery the sequences of all ids but 'probe', probes the unlabelled sequences of the id 'probe', re-ranked",
    gallery=Selector(not_ids=("probe",)),
    probes=Selector(ids=("probe",)),
    header=("videoID", "label"),
    re_rank=ReRank(),
)
SUBMISSIONS = {submission.name: submission for submission in (GREW_SUBMISSION, HID_SUBMISSION)}
"""The submissions by their names."""

# The eval_func names of the field's configs. None stands for "by the dataset".
_EVAL_FUNCTIONS: dict[str, str | None] = {
    "evaluate_indoor_dataset": None,
    "evaluate_real_scene": "GREW",
    "identification_real_scene": "GREW",
    "evaluate_Gait3D": "Gait3D",
    "evaluation_Gait3D": "Gait3D",
    "evaluate_CCPG": "CCPG",
    "GREW_submission": GREW_SUBMISSION.name,
    "identification_GREW_submission": GREW_SUBMISSION.name,
    "HID_submission": HID_SUBMISSION.name,
}
_NOT_BUILT = ("evaluate_scoliosis", "evaluate_FreeGait", "evaluate_segmentation")
_INDOOR = ("CASIA-B", "OUMVLP", "SUSTech1K")


def resolve_protocol(eval_func: str | None, dataset_name: str, cross_view_gallery: bool = False) -> str:
    """Return the protocol that a configuration asks for.

    Args:
        eval_func: `evaluator_cfg.eval_func`: one of the field's function names, or the name of a protocol; None leaves
            the choice to the dataset.
        dataset_name: `data_cfg.test_dataset_name`, or `dataset_name`.
        cross_view_gallery: `evaluator_cfg.cross_view_gallery`.

    Returns:
        A name in `PROTOCOLS` or `SUBMISSIONS`.

    Raises:
        UserError: a name that is unknown or not built yet, or one that does not fit the dataset.
    """
    own = PROTOCOLS.resolve(dataset_name) if dataset_name in PROTOCOLS else None
    protocol = _by_eval_func(eval_func, dataset_name, own)
    if not cross_view_gallery or protocol.endswith("/cross-view"):
        return protocol
    cross_view = f"{protocol}/cross-view"
    if cross_view not in PROTOCOLS:
        raise UserError(
            f"evaluator_cfg.cross_view_gallery: the protocol {protocol!r} has no cross-view form; set it to false"
        )
    return PROTOCOLS.resolve(cross_view)


def _by_eval_func(eval_func: str | None, dataset_name: str, own: str | None) -> str:
    if eval_func in _NOT_BUILT:
        raise UserError(f"evaluator_cfg.eval_func: {eval_func} is not built yet; choose one of {_choices()}")
    if eval_func is None:
        if own is None:
            raise UserError(
                f"evaluator_cfg.eval_func: the dataset {dataset_name!r} has no protocol of its own; "
                f"name one of {_choices()}"
            )
        return own
    if eval_func not in _EVAL_FUNCTIONS:
        if eval_func in PROTOCOLS:
            return PROTOCOLS.resolve(eval_func)
        if eval_func in SUBMISSIONS:
            return eval_func
        raise UserError(f"evaluator_cfg.eval_func: unknown {eval_func!r}; choose one of {_choices()}")
    protocol = _EVAL_FUNCTIONS[eval_func]
    if protocol is None:
        if own not in _INDOOR:
            raise UserError(
                f"evaluator_cfg.eval_func: {eval_func} is for {', '.join(_INDOOR)}, "
                f"not for the dataset {dataset_name!r}; name one of {_choices()}"
            )
        return own
    # A dataset of a name that we do not know may well be prepared in this protocol's layout; a known one is not.
    if own is not None and own != protocol.partition("/")[0]:
        raise UserError(
            f"evaluator_cfg.eval_func: {eval_func} does not fit the dataset {dataset_name!r}, whose protocol is {own!r}"
        )
    return protocol


def _choices() -> str:
    return ", ".join([*sorted(_EVAL_FUNCTIONS), *PROTOCOLS.names(), *SUBMISSIONS])
