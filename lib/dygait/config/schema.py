"""One typed model for each YAML section: every key, its meaning, default and valid values.

`docs/configuration.md` is generated from this file (`scripts/generate_configuration_reference.py`). The keys and their
defaults are OpenGait's where OpenGait has them. Sections that name a component (`model_cfg`, each loss, each
transform, the optimiser, the scheduler) also hold the keywords of its constructor, which are checked with the whole
configuration (`dygait.training.checks.component_problems`).
"""

from __future__ import annotations

import math
import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
    with_config,
)
from typing_extensions import Self, TypedDict

from dygait.errors import UserError
from dygait.synthetic.settings import is_address, parse_address
from dygait.synthetic.world import World

SampleType = Literal[
    "fixed_ordered", "fixed_unordered", "unfixed_ordered", "unfixed_unordered", "all_ordered", "all_unordered"
]


HalfPrecision = bool | Literal["auto"]
Feature = Literal["embeddings", "after_neck", "logits"]

_LONGEST_NAME = 200
"""In bytes. File systems allow 255, and the names of checkpoints also contain the iteration."""


def check_name(name: str) -> str:
    """Check that a name is a valid name of one folder, so that a run's path stays inside the output folder."""
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError("must be the name of one folder, without slashes")
    if not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"must be a printable name of at most {_LONGEST_NAME} bytes")
    return name


FolderName = Annotated[str, AfterValidator(check_name)]


class Section(BaseModel):
    """A mapping without unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


class Component(BaseModel):
    """A mapping with the name of a component and the keywords of its constructor."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=(), allow_inf_nan=False)

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords of the component."""
        return dict(self.model_extra or {})


class DataCfg(Section):
    """The dataset and its partition."""

    dataset_name: FolderName = Field(description="The dataset's name: part of the output path; selects the protocol.")
    dataset_root: str | list[str] = Field(
        description="A packed store, or the folder `<id>/<type>/<view>/<name>.pkl`, or an address of SynGait such as "
        "`syngait://quick?seed=1&train_ids=300`, which is rendered when it is read. A relative path starts at the "
        "working directory or, if it does not exist there, at the folder of the YAML file or one of the two above it. "
        "A list trains on several datasets together: ids stay distinct, 001 of the second is `2:001`.",
    )
    dataset_partition: str | list[str] | None = Field(
        None,
        description="A JSON file with TRAIN_SET and TEST_SET (and PROBE_SET), found like `dataset_root`, or the name "
        "of a built-in rule: CASIA-B, OUMVLP, GREW, or `all`, every id on disk trains; or an address of SynGait. "
        "Absent: that of an address in `dataset_root`, else the rule of `dataset_name`. With a list of roots, a list "
        "of the same length.",
    )
    num_workers: int = Field(1, ge=0, description="Loader workers per process; 0 loads in the training process.")
    syngait: Annotated[World, BeforeValidator(lambda knobs: {} if knobs is None else knobs)] = Field(
        World(),
        description="Knobs of SynGait, for the addresses in `dataset_root`, which are resolved to addresses with these "
        "knobs; see `data_cfg.syngait`. Null: none, as where a configuration with knobs gets another dataset.",
    )
    remove_no_gallery: bool = Field(
        False, description="Exclude probes without a match in the gallery from every result, OUMVLP's included."
    )
    cache: bool = Field(
        False,
        description="Read every sequence once, before training, and keep it in memory: one copy per machine, shared by "
        "all processes and workers. For trees of pickles; a packed store needs no cache.",
    )
    test_dataset_name: str | None = Field(
        None, description="The dataset's name in tests, if it differs; selects the protocol."
    )
    data_in_use: list[bool] | None = Field(
        None,
        description="A mask over the sorted files of a sequence, true for each that is read. Absent: the first file. "
        "If several are true (several modalities), they are stacked, in order, to the channels of one frame and go "
        "through one `transform`; or `transform` is a list with one for each, and the model takes as many inputs.",
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop",
        description="What happens if a sequence cannot be read. Every sequence is read once before the run begins: "
        "`stop` ends the run and names them, `skip` continues without them.",
    )

    @field_validator("dataset_root", "dataset_partition")
    @classmethod
    def _addresses(cls, value: str | list[str] | None) -> str | list[str] | None:
        for one in value if isinstance(value, list) else [value]:
            if one is not None and is_address(one):
                try:
                    parse_address(one)
                except UserError as error:
                    raise ValueError(str(error)) from None
        return value

    @model_validator(mode="after")
    def _knobs_in_the_addresses(self) -> DataCfg:
        knobs = self.syngait.model_dump()
        roots = self.dataset_root if isinstance(self.dataset_root, list) else [self.dataset_root]
        if not knobs:
            return self
        if not any(map(is_address, roots)):
            raise ValueError(
                "syngait: dataset_root names no address of SynGait, such as syngait://wild, to apply it to"
            )
        try:
            resolved = [parse_address(root).with_knobs(knobs).address if is_address(root) else root for root in roots]
        except UserError as error:
            raise ValueError(f"syngait: {error}") from None
        self.dataset_root = resolved if isinstance(self.dataset_root, list) else resolved[0]
        return self

    @model_validator(mode="after")
    def _as_many_partitions(self) -> DataCfg:
        roots, parts = self.dataset_root, self.dataset_partition
        if isinstance(roots, list) != isinstance(parts, list) and (isinstance(roots, list) or parts is not None):
            raise ValueError("dataset_root and dataset_partition must both be lists, or both be single")
        if isinstance(roots, list) and (not roots or len(roots) != len(parts or [])):
            raise ValueError(f"dataset_root lists {len(roots)} datasets, dataset_partition {len(parts or [])}")
        return self

    @model_validator(mode="after")
    def _some_file(self) -> DataCfg:
        if self.data_in_use is not None and not any(self.data_in_use):
            raise ValueError("data_in_use: set at least one entry to true")
        return self

    @property
    def files_read(self) -> int:
        """How many files of a sequence are read."""
        return 1 if self.data_in_use is None else sum(self.data_in_use)


class TransformCfg(Component):
    """One transform, or Compose with a list of them under `trf_cfg`."""

    type: str = Field("BaseSilCuttingTransform", description="The transform's name.")


class FramesCfg(Section):
    """Which frames of a sequence are used."""

    frames_num_fixed: int = Field(30, ge=1, description="Frames of a sequence, for `fixed_*`.")
    frames_num_min: int = Field(25, ge=1, description="The fewest frames of a sequence, for `unfixed_*`.")
    frames_num_max: int = Field(50, ge=1, description="The most frames of a sequence, for `unfixed_*`.")
    frames_skip_num: int = Field(
        0, ge=0, description="Ordered sampling: the number of frames by which the window is longer than the sample."
    )
    frames_step: int = Field(
        1,
        ge=1,
        description="Use every n-th frame only; `frames_num_*` and `frames_all_limit` count those. 2 halves the work.",
    )
    frames_all_limit: int | None = Field(
        None, description="For `all_*`: the most frames, from the middle of the sequence; -1: no limit."
    )

    @model_validator(mode="after")
    def _possible_counts(self) -> Self:
        if self.frames_num_min > self.frames_num_max:
            raise ValueError("frames_num_min is larger than frames_num_max")
        if self.frames_all_limit is not None and self.frames_all_limit < 1 and self.frames_all_limit != -1:
            raise ValueError("frames_all_limit must be positive, or -1 for no limit")
        return self


class TrainSamplerCfg(FramesCfg):
    """The batch sampler of training, and the sampling of frames."""

    type: str = Field("TripletSampler", description="The batch sampler.")
    batch_size: list[int] | int = Field(
        [8, 16],
        description="[P, K]: P subjects with K sequences each, over all processes together. CommonSampler: one number. "
        "BilateralSampler: P x K sequences, each of them twice.",
    )
    batch_shuffle: bool = Field(False, description="Shuffle the batch before it is divided among the processes.")
    sample_type: SampleType = Field("fixed_unordered", description="How many frames, and whether they are ordered.")

    @model_validator(mode="after")
    def _possible_batch(self) -> Self:
        size = [self.batch_size, 1] if isinstance(self.batch_size, int) else self.batch_size
        if len(size) != 2 or min(size) < 1:
            raise ValueError("batch_size must be [P, K], two positive numbers (for CommonSampler: one positive number)")
        return self

    @property
    def sequences(self) -> int:
        """The number of sequences of a batch, over all processes together."""
        return self.batch_size if isinstance(self.batch_size, int) else math.prod(self.batch_size)


class InferenceSamplerCfg(FramesCfg):
    """The batch sampler of tests, and the sampling of frames."""

    type: str = Field("InferenceSampler", description="The batch sampler.")
    frames_budget: int = Field(
        512,
        ge=1,
        description="The most frames of a batch of one process, padding included; it bounds the memory. Sequences of "
        "similar length share a batch; a longer sequence is a batch of its own.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="The most sequences of a batch of one process. Absent: limited by `frames_budget` only.",
    )
    sample_type: SampleType = Field("all_ordered", description="As in training; `all_ordered` uses every frame.")
    frames_window: int | None = Field(
        None,
        ge=1,
        description="Embed the fewest windows of so many frames that cover a sequence, and compare the mean of their "
        "features. Absent: embed the sequence as a whole, as the papers do.",
    )


class ModelCfg(Component):
    """The network: its name, and its constructor's keywords."""

    model: str = Field(description="The model's name.")
    input_size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="[H, W] of the silhouettes that the transform gives, for which model and data are checked. Absent: "
        "the data's size.",
    )


class LossCfg(Component):
    """One loss term: its name, its weight, and its constructor's keywords."""

    type: str = Field(description="The loss's name.")
    loss_term_weight: float = Field(1.0, ge=0, description="The term's weight in the sum.")
    log_prefix: str | None = Field(None, description="The first part of the term's names in log and TensorBoard.")


class ParamGroupCfg(Section):
    """A parameter group; absent settings are the optimiser's."""

    match: str = Field(
        description="A shell pattern of weights' names (`backbone.*`); the first group that matches takes a weight."
    )
    lr: float | None = Field(None, gt=0, description="Their learning rate.")
    weight_decay: float | None = Field(None, ge=0, description="Their weight decay.")

    @model_validator(mode="after")
    def _sets_something(self) -> ParamGroupCfg:
        if self.lr is None and self.weight_decay is None:
            raise ValueError("needs lr or weight_decay")
        return self


class OptimizerCfg(Component):
    """The optimiser: a class of `torch.optim` and its keywords."""

    solver: str = Field("SGD", description="A class of `torch.optim`.")
    lr: float = Field(0.1, gt=0, description="The learning rate.")
    param_groups: list[ParamGroupCfg] = Field(
        [],
        description="Weights with a learning rate or weight decay of their own, as for fine-tuning; they take the "
        "place of a model's own groups (GaitSSB_Finetune's `backbone_lr`). Schedulers start from each group's learning "
        "rate; OneCycleLR's and CyclicLR's rates are scaled in proportion to it.",
    )


class SchedulerCfg(Component):
    """The learning rate's schedule, stepped every iteration: a class of `torch.optim.lr_scheduler`, its keywords."""

    scheduler: str = Field(
        "MultiStepLR",
        description="A class of `torch.optim.lr_scheduler`, or `CosineStepLR`: half a cosine to `T_max`, held for "
        "`step_size` iterations at a time, at least `eta_min`, which stays after `T_max`.",
    )


class TrainerCfg(Section):
    """The training run."""

    enable_float16: HalfPrecision = Field(
        True,
        description="Half precision: float16 with loss scaling on CUDA, bfloat16 on a CPU. `auto`: on CUDA, and on a "
        "CPU that is measured to be faster in it; log and resolved configuration have the decision.",
    )
    half_type: Literal["float16", "bfloat16"] | None = Field(
        None, description="The type of half precision; float16 uses loss scaling. Absent: by device."
    )
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = Field(
        False, description="Compile the network with `torch.compile`: true, or one of its modes."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="The number of parts in which each batch is computed: memory for one part, the losses and the "
        "gradient of the whole batch. Only BatchNorm's batch statistics are those of a part.",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep an exponential moving average of the weights with this decay, in the checkpoint too. "
        "Absent: none.",
    )
    fix_BN: bool = Field(False, description="Keep every BatchNorm in evaluation mode.")  # noqa: N815 - OpenGait's key
    sync_BN: bool = Field(  # noqa: N815 - OpenGait's key
        False, description="Batch statistics over all processes."
    )
    collective_timeout: float = Field(
        1800.0,
        gt=0,
        description="Timeout of collectives in seconds, in training, test and extraction; then the run ends and names "
        "the missing processes. It must exceed the time of an iteration, and of rank 0's scoring.",
    )
    find_unused_parameters: bool = Field(False, description="As in DistributedDataParallel.")
    gradient_compression: Literal["float16", "bfloat16"] | None = Field(
        None, description="All-reduce gradients in this type. Absent: in their own."
    )
    tune_allocator: bool = Field(
        True,
        description="On a CPU under Linux, keep freed memory in the process, in training, test and extraction; "
        "DYGAIT_ALLOCATOR=default in the environment disables it too.",
    )
    with_test: bool = Field(False, description="Test at every checkpoint.")
    log_iter: int = Field(100, ge=1, description="Iterations between log lines.")
    save_iter: int = Field(2000, ge=1, description="Iterations between checkpoints; the last iteration always has one.")
    total_iter: int = Field(80000, ge=1, description="Iterations of the whole run.")
    keep_last: int | None = Field(None, ge=1, description="How many of the newest checkpoints to keep. Absent: all.")
    keep_every: int | None = Field(
        None, ge=1, description="With `keep_last`: also keep checkpoints of iterations that this number divides."
    )
    restore_hint: int | str = Field(
        0,
        description="The iteration, or the path, of a checkpoint to resume from; `auto`: the newest undamaged one of "
        "this run, if there is one; 0: none.",
    )
    restore_ckpt_strict: bool = Field(
        True, description="Every weight must match; if false, matching weights are loaded."
    )
    init_from: str | None = Field(
        None,
        description="A checkpoint of DyGait or OpenGait with the initial weights of a new run (the averaged ones, if "
        "it has such), or the name of weights that ship; the class head keeps its own where the number of classes "
        "differs. Ignored where the run resumes (`restore_hint`).",
    )
    freeze: list[str] = Field(
        [],
        description="Weights that are not trained: shell patterns of their names (`backbone.*`). A BatchNorm whose "
        "weights are frozen keeps its statistics.",
    )
    optimizer_reset: bool = Field(False, description="Do not restore the optimiser's state.")
    scheduler_reset: bool = Field(False, description="Do not restore the scheduler's state.")
    save_name: FolderName = Field("tmp", description="The run's name: part of the output path.")
    sampler: TrainSamplerCfg = Field(default_factory=TrainSamplerCfg, description="See `trainer_cfg.sampler`.")
    transform: TransformCfg | list[TransformCfg] = Field(
        default_factory=TransformCfg, description="The input's transform, or a list to apply in turn."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of initialisation, sampling and augmentation.")
    deterministic: bool = Field(
        False,
        description="Use deterministic algorithms only, which can be slower: runs are bit for bit the same on the same "
        "hardware. On a CPU they always are.",
    )
    grad_clip_norm: float | None = Field(None, gt=0, description="Clip the gradient to this norm. Absent: no clipping.")
    max_skipped: int = Field(
        20,
        ge=1,
        description="A step whose gradient is not finite is skipped; after this many in a row the run ends, and the "
        "batch is saved for `dygait debug-batch`. A smaller number synchronises with the GPU more often.",
    )
    spike_factor: float | None = Field(
        None,
        gt=1,
        description="Also skip steps whose gradient norm is more than this many times the median of the last 100. "
        "Absent: never.",
    )

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> TrainerCfg:
        if self.accumulate > self.sampler.sequences:
            raise ValueError(f"accumulate is {self.accumulate}, but a batch has {self.sampler.sequences} sequences")
        if self.accumulate > 1 and self.compile in ("reduce-overhead", "max-autotune"):
            raise ValueError(
                f"compile: {self.compile} overwrites the results that accumulate still needs; use "
                f"compile: true, or max-autotune-no-cudagraphs"
            )
        return self


def _patterns(value: Any) -> Any:
    """Accept a single pattern for a list, and check the patterns."""
    patterns = value if isinstance(value, list) else [value]
    for index, pattern in enumerate(patterns):
        if not isinstance(pattern, str):
            raise ValueError(f"a pattern is text: put {pattern!r} in quotes, as the folder is called ('01', not 1)")
        if not pattern.strip() or pattern != pattern.strip():
            raise ValueError(f"the pattern {pattern!r} is empty, or begins or ends with a space")
        if pattern.count("[") != pattern.count("]"):
            raise ValueError(f"the pattern {pattern!r} has an unmatched bracket; [[] is the character [")
        if pattern in patterns[:index]:
            raise ValueError(f"the pattern {pattern!r} is duplicate")
    return patterns


Patterns = Annotated[list[str], BeforeValidator(_patterns)]


class PartitionLists(TypedDict):
    """The keys `id-type-view` that a partition lists; None where it has no such list."""

    probes: list[str] | None
    gallery: list[str] | None


class Selector(Section, frozen=True):
    """Selects sequences by shell patterns; every criterion must match, by one of its patterns."""

    types: Patterns = Field(["*"], min_length=1, description="Patterns for the type: `nm-01`, `nm-*`, `*-0[12]`.")
    ids: Patterns = Field(["*"], min_length=1, description="Patterns for the id.")
    views: Patterns = Field(["*"], min_length=1, description="Patterns for the view.")
    not_ids: Patterns = Field([], description="Patterns that the id must not match.")
    not_views: Patterns = Field([], description="Patterns that the view must not match.")
    listed: bool | None = Field(
        None, description="true: what is in a list of the partition; false: what is not. Absent: both."
    )
    listed_in: Literal["PROBE_SET", "GALLERY_SET"] = Field("PROBE_SET", description="Which list, for `listed`.")

    @property
    def description(self) -> str:
        """What is chosen, in words."""
        criteria = {"type": self.types, "id": self.ids, "view": self.views}
        parts = [f"{name} {', '.join(patterns)}" for name, patterns in criteria.items() if patterns != ["*"]]
        if self.not_ids:
            parts.append(f"not id {', '.join(self.not_ids)}")
        if self.not_views:
            parts.append(f"not view {', '.join(self.not_views)}")
        if self.listed is not None:
            parts.append(f"what is {'' if self.listed else 'not '}in {self.listed_in}")
        return " and ".join(parts) or "every sequence"


class ProbeGroup(Section, frozen=True):
    """Probes that are reported together."""

    probes: Selector = Field(description="Which sequences, as `gallery`.")
    gallery: Selector | None = Field(None, description="A gallery of its own. Absent: the protocol's.")
    unmatched: Literal["left out", "counted as wrong"] = Field(
        "left out", description="What becomes of a probe without any true match in the gallery."
    )


CLASSIFICATION_MEASURES = ("accuracy", "precision", "recall", "F1")


class Protocol(Section, frozen=True):
    """How features become numbers: the gallery, groups of probes, what is not compared, and what is reported.

    With `classes`, sequences are not compared but classified: there is no gallery, and features are logits.
    """

    name: str = Field(
        pattern=r"^[\w.+-]([\w.+ /-]*[\w.+-])?$",
        description="What results call it, and their files; not a built-in one's.",
    )
    words: str | None = Field(
        None, min_length=1, description="The protocol in a sentence. Absent: derived from the declaration."
    )
    gallery: Selector = Field(description="Which sequences are searched.")
    groups: dict[str, ProbeGroup] = Field(min_length=1, description="Probe groups by name, in the order of the report.")
    one_view_at_a_time: bool = Field(
        False,
        description="Search each view's gallery alone, and report the mean over probe views of the mean over gallery "
        "views; else the whole gallery at once, and the mean over probes.",
    )
    exclusion: Literal["nothing", "identical view", "same id in the same view"] = Field(
        "nothing", description="Which gallery sequences are not considered for a probe."
    )
    view_until: str | None = Field(
        None,
        min_length=1,
        description="Views are told apart by what comes before the first of this: with `_`, `06_1` and `06_2` are the "
        "camera `06`. Absent: by the whole name.",
    )
    classes: Annotated[Patterns, Field(min_length=2)] | None = Field(
        None,
        description="Patterns for the type, one for each class, upper and lower case alike: a classification, in place "
        "of `gallery`. In training the logits learn these classes, not subjects. Absent: sequences are compared.",
    )
    measures: list[str] = Field(
        ["rank-1"],
        min_length=1,
        description="What is reported, the headline first: `rank-<k>`, `mAP`, `mINP`; of a classification `accuracy` "
        "and, each the mean over classes, `precision`, `recall`, `F1`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _needless_with_classes(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("classes") is None:
            return given
        needless = {"gallery": {}, "groups": {"all": {"probes": {}}}, "measures": [*CLASSIFICATION_MEASURES]}
        return {**needless, **given}

    @model_validator(mode="after")
    def _no_gallery_with_classes(self) -> Protocol:
        compares = self.gallery != Selector() or any(group.gallery is not None for group in self.groups.values())
        if self.classes and (compares or self.one_view_at_a_time or self.exclusion != "nothing"):
            raise ValueError("classes: a classification has no gallery; remove it, one_view_at_a_time and exclusion")
        return self

    @model_validator(mode="after")
    def _known_measures(self) -> Protocol:
        known = "|".join(CLASSIFICATION_MEASURES) if self.classes else r"rank-[1-9]\d*|mAP|mINP"
        listed = ", ".join(CLASSIFICATION_MEASURES) if self.classes else "rank-<k>, mAP or mINP"
        for index, name in enumerate(self.measures):
            if not re.fullmatch(known, name):
                raise ValueError(f"measures: unknown measure {name!r}: {listed}")
            if name in self.measures[:index]:
                raise ValueError(f"measures: {name!r} is duplicate")
        return self

    @property
    def description(self) -> str:
        """The protocol in a sentence, so that whoever reads a result knows what was compared."""
        if self.words is not None:
            return self.words
        probes = []
        for name, group in self.groups.items():
            own = "" if group.gallery is None else f" in the gallery {group.gallery.description}"
            wrong = "" if group.unmatched == "left out" else " (without a match counted as wrong)"
            probes.append(f"{name} {group.probes.description}{own}{wrong}")
        if self.classes is not None:
            return (
                f"classes by type {', '.join(self.classes)}; the largest logit, mean over parts; {' / '.join(probes)}"
            )
        parts = [f"gallery {self.gallery.description}", f"probes {' / '.join(probes)}"]
        parts.append("one view at a time" if self.one_view_at_a_time else "whole gallery")
        if self.exclusion != "nothing":
            parts.append(f"{self.exclusion} excluded")
        if self.view_until is not None:
            parts.append(f"views told apart up to {self.view_until!r}")
        return "; ".join(parts)

    @property
    def lists(self) -> list[str]:
        """The lists of the partition that decide what is a probe or in the gallery."""
        selectors = [self.gallery, *(g.probes for g in self.groups.values())]
        selectors += [g.gallery for g in self.groups.values() if g.gallery is not None]
        return sorted({s.listed_in for s in selectors if s.listed is not None})

    def class_of(self, sequence_type: str) -> int:
        """Return the index of the class of a type; UserError where it has none."""
        assert self.classes is not None
        for index, pattern in enumerate(self.classes):
            if fnmatchcase(sequence_type.lower(), pattern.lower()):
                return index
        raise UserError(
            f"the sequence type {sequence_type!r} is none of the classes of the protocol {self.name}: "
            f"{', '.join(self.classes)}"
        )

    def view_name(self, view: str) -> str:
        """Return the name by which the protocol tells a view apart; selectors see the whole name."""
        return view if self.view_until is None else view.partition(self.view_until)[0]

    def without_unmatched(self) -> Protocol:
        """Return the protocol without the groups that count probes without a match (`remove_no_gallery`).

        Where no other group is left, they leave such probes out instead.
        """
        kept = {name: group for name, group in self.groups.items() if group.unmatched == "left out"}
        left_out = {name: group.model_copy(update={"unmatched": "left out"}) for name, group in self.groups.items()}
        return self.model_copy(update={"groups": kept or left_out})


_ReRankKeys = TypedDict(
    "_ReRankKeys",
    {
        "k1": Annotated[int, Field(ge=1)],
        "k2": Annotated[int, Field(ge=1)],
        "lambda": Annotated[float, Field(ge=0, le=1)],
    },
    total=False,
)


@with_config(ConfigDict(extra="forbid", strict=True))
class ReRankCfg(_ReRankKeys, total=False):
    """The constants of k-reciprocal re-ranking."""


class EvaluatorCfg(Section):
    """The test."""

    enable_float16: HalfPrecision = Field(
        False, description="Half precision: float16 on CUDA, bfloat16 on a CPU; `auto` as in training."
    )
    use_ema: bool = Field(
        True, description="Test the averaged weights (`trainer_cfg.ema`) of a checkpoint that has them."
    )
    restore_hint: int | str = Field(
        0,
        description="The iteration, or the path, of the checkpoint to test, or the name of weights that ship; 0: the "
        "newest.",
    )
    restore_ckpt_strict: bool = Field(True, description="Every weight must match.")
    save_name: FolderName = Field("tmp", description="The run's name: part of the output path.")
    eval_func: str | None = Field(
        None, description="A protocol's name, or one of OpenGait's functions. Absent: the dataset's protocol."
    )
    sampler: InferenceSamplerCfg = Field(
        default_factory=InferenceSamplerCfg, description="See `evaluator_cfg.sampler`."
    )
    transform: TransformCfg | list[TransformCfg] = Field(
        default_factory=TransformCfg, description="The input's transform, or a list to apply in turn."
    )
    metric: Literal["euc", "cos"] = Field("euc", description="Distance: mean over parts, Euclidean or cosine.")
    feature: Feature | None = Field(
        None,
        description="Which output of the network is compared: `embeddings`, which the triplet loss reads; "
        "`after_neck`, the feature after the BNNecks; `logits`. Absent: the model's own choice "
        "([evaluation.md](evaluation.md#which-feature-is-compared)).",
    )
    cross_view_gallery: bool = Field(False, description="CASIA-B, OUMVLP: the gallery holds all views at once.")
    protocol: Protocol | None = Field(
        None, description="A protocol of one's own, in place of `eval_func`; see `evaluator_cfg.protocol`."
    )
    intervals: int = Field(
        1000, ge=0, description="Resamples of the bootstrap over subjects that gives 95 % intervals; 0: none."
    )
    verification: bool = Field(
        True, description="Report AUC, EER and TAR at FAR of all pairs that the protocol compares."
    )
    open_set: bool = Field(True, description="Report DIR at FPIR: identification where the subject may be missing.")
    re_rank: bool | ReRankCfg | None = Field(
        None,
        description="k-reciprocal re-ranking: `true`, or its constants `{k1: 6, k2: 6, lambda: 0.3}`. Absent: for the "
        "HID submission only.",
    )
    keep_features: Literal["latest", "all", "none"] = Field(
        "latest", description="Which tests' features stay in the run's folder: the latest test's, all, or none."
    )
    report: bool = Field(
        True, description="Write the run's `report/report.html`, with tables beside it, and its curves for TensorBoard."
    )
    baseline: Literal["gei"] | None = Field(
        None, description="`gei`: score nearest neighbour on gait energy images too, in the same table."
    )

    @model_validator(mode="after")
    def _one_protocol(self) -> EvaluatorCfg:
        if self.protocol is not None and (self.eval_func is not None or self.cross_view_gallery):
            raise ValueError("protocol takes the place of eval_func and cross_view_gallery; set them to null and false")
        return self


class Config(Section):
    """A whole experiment."""

    custom_imports: list[str] = Field(
        [],
        description="Python files to run first: models, losses, transforms and samplers that they register can be "
        "named like those that are built in. Relative to the YAML file that names them (with `--set`, to the working "
        "directory). They run with your rights: name only files that you trust.",
    )
    data_cfg: DataCfg
    model_cfg: ModelCfg
    loss_cfg: list[LossCfg] = Field(min_length=1)
    optimizer_cfg: OptimizerCfg = Field(default_factory=OptimizerCfg)
    scheduler_cfg: SchedulerCfg = Field(default_factory=SchedulerCfg)
    trainer_cfg: TrainerCfg = Field(default_factory=TrainerCfg)
    evaluator_cfg: EvaluatorCfg = Field(default_factory=EvaluatorCfg)

    @model_validator(mode="after")
    def _a_transform_for_each_modality(self) -> Config:
        files, modalities = self.data_cfg.files_read, self.modalities
        for name, section in (("trainer_cfg", self.trainer_cfg), ("evaluator_cfg", self.evaluator_cfg)):
            listed = len(section.transform) if isinstance(section.transform, list) else 1
            if files > 1 and (listed != modalities or modalities not in (1, files)):
                raise ValueError(
                    f"{name}.transform: data_cfg.data_in_use reads {files} files of a sequence, so it must be one "
                    f"transform of all as channels, or a list of {files}, one for each, in training as in tests (it "
                    f"has {listed}; Compose makes one of several)"
                )
        return self

    @property
    def modalities(self) -> int:
        """How many inputs the model gets: one for each transform of the files that are read; else 1."""
        transform = self.trainer_cfg.transform
        return len(transform) if self.data_cfg.files_read > 1 and isinstance(transform, list) else 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain containers, as they are written to the resolved YAML."""
        return self.model_dump()
