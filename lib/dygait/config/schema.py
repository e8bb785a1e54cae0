"""Typed models of the YAML sections: each key with its description, default and valid values.

`docs/configuration.md` is generated from this file (`scripts/generate_configuration_reference.py`). Keys and defaults
are those of OpenGait where OpenGait has them. Sections that name a component (`model_cfg`, each loss, each transform,
the optimiser, the scheduler) also contain the keywords of its constructor, which are checked with the whole
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

_MAX_NAME_BYTES = 200
"""File systems allow 255, and the names of checkpoints also contain the iteration."""


def check_name(name: str) -> str:
    """Check that a name is a valid folder name, so that the path of a run is inside the output folder."""
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError("must be the name of one folder, without slashes")
    if not name.isprintable() or len(name.encode()) > _MAX_NAME_BYTES:
        raise ValueError(f"must be a printable name of at most {_MAX_NAME_BYTES} bytes")
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
        "`syngait://quick?seed=1&train_ids=300`, which is rendered when it is read. A relative path is searched in the "
        "working directory, then in the folder of the YAML file and the two above it. A list trains on several "
        "datasets together: ids stay distinct, 001 of the second is `2:001`.",
    )
    dataset_partition: str | list[str] | None = Field(
        None,
        description="A JSON file with TRAIN_SET and TEST_SET (and PROBE_SET), searched like `dataset_root`; the name "
        "of a built-in rule: CASIA-B, OUMVLP, GREW, or `all`, which trains on every id on disk; or an address of "
        "SynGait. Absent: that of an address in `dataset_root`, else the rule of `dataset_name`. With a list of roots, "
        "a list of the same length.",
    )
    num_workers: int = Field(1, ge=0, description="Loader workers per process; 0 loads in the training process.")
    syngait: Annotated[World, BeforeValidator(lambda knobs: {} if knobs is None else knobs)] = Field(
        World(),
        description="Knobs of SynGait, which are added to the addresses in `dataset_root`; see `data_cfg.syngait`. "
        "Null: none, to replace those of a `base`.",
    )
    remove_no_gallery: bool = Field(
        False, description="Exclude probes without a match in the gallery from all results, OUMVLP's included."
    )
    cache: bool = Field(
        False,
        description="Read every sequence once, before training, into memory: one copy per machine, shared by all "
        "processes and workers. For folders of pickles, and for SynGait without files, which all cores render; a "
        "packed store needs no cache.",
    )
    test_dataset_name: str | None = Field(
        None, description="The dataset's name in tests, if it differs; selects the protocol."
    )
    data_in_use: list[bool] | None = Field(
        None,
        description="A mask over the sorted files of a sequence, true for those to read. Absent: the first file. "
        "Several files (modalities) are stacked, in order, to the channels of a frame, for one `transform`; or "
        "`transform` is a list with one for each file, and the model takes as many inputs.",
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop",
        description="What to do if a sequence cannot be read. Every sequence is read once before the run starts: "
        "`stop` ends the run with their names, `skip` continues without them.",
    )

    @field_validator("dataset_root", "dataset_partition")
    @classmethod
    def _addresses(cls, value: str | list[str] | None) -> str | list[str] | None:
        for entry in value if isinstance(value, list) else [value]:
            if entry is not None and is_address(entry):
                try:
                    parse_address(entry)
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
        if isinstance(roots, list) and parts is None and all(map(is_address, roots)):
            parts = self.dataset_partition = list(roots)
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
        """The number of files that are read of a sequence."""
        return 1 if self.data_in_use is None else sum(self.data_in_use)


class TransformCfg(Component):
    """One transform, or Compose with a list of them under `trf_cfg`."""

    type: str = Field("BaseSilCuttingTransform", description="The transform's name.")


class FramesCfg(Section):
    """Which frames of a sequence are used."""

    frames_num_fixed: int = Field(30, ge=1, description="Number of frames of a sequence, for `fixed_*`.")
    frames_num_min: int = Field(25, ge=1, description="Minimum number of frames of a sequence, for `unfixed_*`.")
    frames_num_max: int = Field(50, ge=1, description="Maximum number of frames of a sequence, for `unfixed_*`.")
    frames_skip_num: int = Field(
        0, ge=0, description="Ordered sampling: the number of frames by which the window is longer than the sample."
    )
    frames_step: int = Field(
        1,
        ge=1,
        description="Use every n-th frame only; `frames_num_*` and `frames_all_limit` count those. 2 halves the cost.",
    )
    frames_all_limit: int | None = Field(
        None, description="For `all_*`: maximum number of frames, from the middle of the sequence; -1: no limit."
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
        description="[P, K]: P subjects with K sequences each, over all processes. CommonSampler: one number. "
        "BilateralSampler: P x K sequences, each of them twice.",
    )
    batch_shuffle: bool = Field(False, description="Shuffle the batch before it is divided among the processes.")
    sample_type: SampleType = Field("fixed_unordered", description="Number of frames, and whether they are ordered.")

    @model_validator(mode="after")
    def _possible_batch(self) -> Self:
        size = [self.batch_size, 1] if isinstance(self.batch_size, int) else self.batch_size
        if len(size) != 2 or min(size) < 1:
            raise ValueError("batch_size must be [P, K], two positive numbers (for CommonSampler: one positive number)")
        return self

    @property
    def sequences(self) -> int:
        """The number of sequences of a batch, over all processes."""
        return self.batch_size if isinstance(self.batch_size, int) else math.prod(self.batch_size)


class InferenceSamplerCfg(FramesCfg):
    """The batch sampler of tests, and the sampling of frames."""

    type: str = Field("InferenceSampler", description="The batch sampler.")
    frames_budget: int = Field(
        512,
        ge=1,
        description="Maximum number of frames of a batch of one process, padding included, which limits memory. "
        "Sequences of similar length share a batch; a longer sequence is a batch of its own.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Maximum number of sequences of a batch of one process. Absent: limited by `frames_budget` only.",
    )
    sample_type: SampleType = Field("all_ordered", description="As in training; `all_ordered` uses every frame.")
    frames_window: int | None = Field(
        None,
        ge=1,
        description="Embed the fewest windows of this many frames that cover a sequence, and compare the mean of their "
        "features. Absent: embed the whole sequence, as the papers do.",
    )


class ModelCfg(Component):
    """The network: its name, and the keywords of its constructor."""

    model: str = Field(description="The model's name.")
    input_size: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="[H, W] of transformed silhouettes, for checks of model and data. Absent: the size of the data.",
    )


class LossCfg(Component):
    """One loss term: its name, its weight, and the keywords of its constructor."""

    type: str = Field(description="The loss's name.")
    loss_term_weight: float = Field(1.0, ge=0, description="The term's weight in the sum.")
    log_prefix: str | None = Field(None, description="The first part of the term's names in log and TensorBoard.")


class ParamGroupCfg(Section):
    """A parameter group; by default its settings are those of the optimiser."""

    match: str = Field(
        description="A shell pattern of names of weights (`backbone.*`); a weight is in the first group that matches."
    )
    lr: float | None = Field(None, gt=0, description="Their learning rate.")
    weight_decay: float | None = Field(None, ge=0, description="Their weight decay.")

    @model_validator(mode="after")
    def _sets_something(self) -> ParamGroupCfg:
        if self.lr is None and self.weight_decay is None:
            raise ValueError("needs lr or weight_decay")
        return self


class OptimizerCfg(Component):
    """The optimiser: a class of `torch.optim` or `MuonAdamW`, and its keywords."""

    solver: str = Field(
        "SGD",
        description="A class of `torch.optim`, or `MuonAdamW`: Muon for weights of two or more dimensions, AdamW for "
        "vectors and the class head.",
    )
    lr: float = Field(0.1, gt=0, description="The learning rate.")
    param_groups: list[ParamGroupCfg] = Field(
        [],
        description="Weights with another learning rate or weight decay, as for fine-tuning; they replace the groups "
        "of a model (GaitSSB_Finetune's `backbone_lr`). Schedulers start from the learning rate of each group; rates "
        "of OneCycleLR and CyclicLR are scaled in proportion to it.",
    )


class SchedulerCfg(Component):
    """The learning rate schedule, stepped every iteration: a class of `torch.optim.lr_scheduler` and its keywords."""

    scheduler: str = Field(
        "MultiStepLR",
        description="A class of `torch.optim.lr_scheduler`, or `CosineStepLR`: half a cosine until `T_max`, in steps "
        "of `step_size` iterations, then `eta_min`, which is also its minimum.",
    )


class TrainerCfg(Section):
    """The training run."""

    enable_float16: HalfPrecision = Field(
        True,
        description="Half precision: float16 with loss scaling on CUDA, bfloat16 on a CPU. `auto`: true on CUDA, and "
        "on a CPU that is measured to be faster with it; the decision is in the log and the resolved configuration.",
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
        description="Compute each batch in this many parts, with the memory for one part, but the losses and the "
        "gradient of the whole batch. Only BatchNorm's batch statistics are those of a part.",
    )
    ema: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of an exponential moving average of the weights, which checkpoints also contain. Absent: "
        "no average.",
    )
    fix_BN: bool = Field(False, description="Keep every BatchNorm in evaluation mode.")  # noqa: N815 - OpenGait's key
    sync_BN: bool = Field(  # noqa: N815 - OpenGait's key
        False, description="Compute batch statistics over all processes."
    )
    collective_timeout: float = Field(
        1800.0,
        gt=0,
        description="Timeout of collectives in seconds, in training, test and extraction, after which the run ends "
        "with the names of the missing processes. It must exceed the time of an iteration, and of scoring on rank 0.",
    )
    find_unused_parameters: bool = Field(False, description="As in DistributedDataParallel.")
    gradient_compression: Literal["float16", "bfloat16"] | None = Field(
        None, description="All-reduce gradients in this type. Absent: in the type of the weights."
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
    keep_last: int | None = Field(None, ge=1, description="Number of newest checkpoints to keep. Absent: all.")
    keep_every: int | None = Field(
        None, ge=1, description="With `keep_last`: also keep checkpoints of iterations that this number divides."
    )
    restore_hint: int | str = Field(
        0,
        description="The iteration, or the path, of a checkpoint to resume from; `auto`: the newest undamaged one of "
        "this run, if there is one; 0: none.",
    )
    restore_ckpt_strict: bool = Field(
        True, description="Whether all weights must match; if false, matching weights are loaded."
    )
    init_from: str | None = Field(
        None,
        description="A checkpoint of DyGait or OpenGait with the initial weights of a new run (the averaged ones, if "
        "it has them), or the name of weights that ship with the package; the class head is not loaded if the number "
        "of classes differs. Ignored if the run resumes (`restore_hint`).",
    )
    freeze: list[str] = Field(
        [],
        description="Shell patterns of the names of weights that are not trained (`backbone.*`). The running "
        "statistics of a BatchNorm whose weights are frozen do not change.",
    )
    optimizer_reset: bool = Field(False, description="Do not restore the optimiser's state.")
    scheduler_reset: bool = Field(False, description="Do not restore the scheduler's state.")
    save_name: FolderName = Field("tmp", description="The run's name: part of the output path.")
    sampler: TrainSamplerCfg = Field(default_factory=TrainSamplerCfg, description="See `trainer_cfg.sampler`.")
    transform: TransformCfg | list[TransformCfg] = Field(
        default_factory=TransformCfg, description="The transform of the input, or a list to apply in turn."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of initialisation, sampling and augmentation.")
    deterministic: bool = Field(
        False,
        description="Use only deterministic algorithms, which can be slower: runs are bitwise identical on the same "
        "hardware. On a CPU they always are.",
    )
    grad_clip_norm: float | None = Field(None, gt=0, description="Clip the gradient to this norm. Absent: no clipping.")
    max_skipped: int = Field(
        20,
        ge=1,
        description="Steps whose gradient is not finite are skipped; after this many in a row the run ends, and the "
        "batch is saved for `dygait debug-batch`. A smaller number synchronises the GPU more often.",
    )
    spike_factor: float | None = Field(
        None,
        gt=1,
        description="Also skip steps whose gradient norm exceeds this factor times the median of the last 100. Absent: "
        "never.",
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
    """Convert a single pattern to a list, and check the patterns."""
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
    """The keys `id-type-view` in the lists of a partition; None if it has no such list."""

    probes: list[str] | None
    gallery: list[str] | None


class Selector(Section, frozen=True):
    """Selects sequences by shell patterns; every criterion must match with one of its patterns."""

    types: Patterns = Field(["*"], min_length=1, description="Patterns for the type: `nm-01`, `nm-*`, `*-0[12]`.")
    ids: Patterns = Field(["*"], min_length=1, description="Patterns for the id.")
    views: Patterns = Field(["*"], min_length=1, description="Patterns for the view.")
    not_ids: Patterns = Field([], description="Patterns that the id must not match.")
    not_views: Patterns = Field([], description="Patterns that the view must not match.")
    listed: bool | None = Field(
        None, description="true: sequences in a list of the partition; false: those not in it. Absent: both."
    )
    listed_in: Literal["PROBE_SET", "GALLERY_SET"] = Field("PROBE_SET", description="Which list, for `listed`.")

    @property
    def description(self) -> str:
        """A description of the selected sequences."""
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
    gallery: Selector | None = Field(None, description="The gallery of this group. Absent: that of the protocol.")
    unmatched: Literal["left out", "counted as wrong"] = Field(
        "left out", description="Whether a probe without a true match in the gallery is excluded or counted as wrong."
    )


CLASSIFICATION_MEASURES = ("accuracy", "precision", "recall", "F1")


class Protocol(Section, frozen=True):
    """The evaluation of features: the gallery, groups of probes, excluded pairs, and reported measures.

    With `classes`, sequences are not compared but classified: there is no gallery, and features are logits.
    """

    name: str = Field(
        pattern=r"^[\w.+-]([\w.+ /-]*[\w.+-])?$",
        description="Its name in results and names of files; it must differ from the built-in ones.",
    )
    words: str | None = Field(
        None, min_length=1, description="The protocol in a sentence. Absent: derived from the declaration."
    )
    gallery: Selector = Field(description="The sequences that are searched.")
    groups: dict[str, ProbeGroup] = Field(min_length=1, description="Probe groups by name, in the order of the report.")
    one_view_at_a_time: bool = Field(
        False,
        description="Search the gallery of each view separately, and report the mean over probe views of the mean over "
        "gallery views; else search the whole gallery, and report the mean over probes.",
    )
    exclusion: Literal["nothing", "identical view", "same id in the same view"] = Field(
        "nothing", description="The gallery sequences that are excluded for a probe."
    )
    view_until: str | None = Field(
        None,
        min_length=1,
        description="Views are identified by the part of their name before the first of this: with `_`, `06_1` and "
        "`06_2` are the view `06`. Absent: by the whole name.",
    )
    classes: Annotated[Patterns, Field(min_length=2)] | None = Field(
        None,
        description="Patterns for the type, one for each class, ignoring case, for a classification instead of a "
        "`gallery`. In training the logits learn these classes, not subjects. Absent: sequences are compared.",
    )
    measures: list[str] = Field(
        ["rank-1"],
        min_length=1,
        description="Reported measures, the main one first: `rank-<k>`, `mAP`, `mINP`; for a classification `accuracy` "
        "and, as means over classes, `precision`, `recall`, `F1`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_with_classes(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("classes") is None:
            return content
        defaults = {"gallery": {}, "groups": {"all": {"probes": {}}}, "measures": [*CLASSIFICATION_MEASURES]}
        return {**defaults, **content}

    @model_validator(mode="after")
    def _no_gallery_with_classes(self) -> Protocol:
        compares = self.gallery != Selector() or any(group.gallery is not None for group in self.groups.values())
        if self.classes and (compares or self.one_view_at_a_time or self.exclusion != "nothing"):
            raise ValueError("classes: a classification has no gallery; remove it, one_view_at_a_time and exclusion")
        return self

    @model_validator(mode="after")
    def _known_measures(self) -> Protocol:
        known = "|".join(CLASSIFICATION_MEASURES) if self.classes else r"rank-[1-9]\d*|mAP|mINP"
        choices = ", ".join(CLASSIFICATION_MEASURES) if self.classes else "rank-<k>, mAP or mINP"
        for index, name in enumerate(self.measures):
            if not re.fullmatch(known, name):
                raise ValueError(f"measures: unknown measure {name!r}: {choices}")
            if name in self.measures[:index]:
                raise ValueError(f"measures: {name!r} is duplicate")
        return self

    @property
    def description(self) -> str:
        """A sentence that describes the protocol, for readers of results."""
        if self.words is not None:
            return self.words
        probes = []
        for name, group in self.groups.items():
            gallery = "" if group.gallery is None else f" in the gallery {group.gallery.description}"
            unmatched = "" if group.unmatched == "left out" else " (without a match counted as wrong)"
            probes.append(f"{name} {group.probes.description}{gallery}{unmatched}")
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
        """The names of the partition's lists that the selectors use."""
        selectors = [self.gallery, *(g.probes for g in self.groups.values())]
        selectors += [g.gallery for g in self.groups.values() if g.gallery is not None]
        return sorted({s.listed_in for s in selectors if s.listed is not None})

    def class_of(self, sequence_type: str) -> int:
        """Return the index of the class of a type; UserError if it has none."""
        assert self.classes is not None
        for index, pattern in enumerate(self.classes):
            if fnmatchcase(sequence_type.lower(), pattern.lower()):
                return index
        raise UserError(
            f"the sequence type {sequence_type!r} is none of the classes of the protocol {self.name}: "
            f"{', '.join(self.classes)}"
        )

    def view_name(self, view: str) -> str:
        """Return the name that identifies a view in the protocol; selectors use the whole name."""
        return view if self.view_until is None else view.partition(self.view_until)[0]

    def without_unmatched(self) -> Protocol:
        """Return the protocol without the groups that count probes without a match (`remove_no_gallery`).

        If there are no other groups, these exclude such probes instead.
        """
        excluding = {name: group for name, group in self.groups.items() if group.unmatched == "left out"}
        changed = {name: group.model_copy(update={"unmatched": "left out"}) for name, group in self.groups.items()}
        return self.model_copy(update={"groups": excluding or changed})


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
        description="The iteration, or the path, of the checkpoint to test, or the name of weights that ship with the "
        "package; 0: the newest.",
    )
    restore_ckpt_strict: bool = Field(True, description="Whether all weights must match.")
    save_name: FolderName = Field("tmp", description="The run's name: part of the output path.")
    eval_func: str | None = Field(
        None, description="The name of a protocol or of a function of OpenGait. Absent: the protocol of the dataset."
    )
    sampler: InferenceSamplerCfg = Field(
        default_factory=InferenceSamplerCfg, description="See `evaluator_cfg.sampler`."
    )
    transform: TransformCfg | list[TransformCfg] = Field(
        default_factory=TransformCfg, description="The transform of the input, or a list to apply in turn."
    )
    metric: Literal["euc", "cos"] = Field("euc", description="Distance: mean over parts, Euclidean or cosine.")
    feature: Feature | None = Field(
        None,
        description="The output of the network that is compared: `embeddings`, the input of the triplet loss; "
        "`after_neck`, the features after the BNNecks; `logits`. Absent: the choice of the model "
        "([evaluation.md](evaluation.md#which-feature-is-compared)).",
    )
    cross_view_gallery: bool = Field(False, description="CASIA-B, OUMVLP: search the gallery of all views at once.")
    protocol: Protocol | None = Field(
        None, description="A custom protocol, instead of `eval_func`; see `evaluator_cfg.protocol`."
    )
    intervals: int = Field(
        1000, ge=0, description="Number of bootstrap resamples of subjects for 95 % intervals; 0: no intervals."
    )
    verification: bool = Field(
        True, description="Report AUC, EER and TAR at FAR of all pairs that the protocol compares."
    )
    open_set: bool = Field(True, description="Report DIR at FPIR: identification of subjects who may not be enrolled.")
    re_rank: bool | ReRankCfg | None = Field(
        None,
        description="k-reciprocal re-ranking: `true`, or its constants `{k1: 6, k2: 6, lambda: 0.3}`. Absent: only for "
        "the HID submission.",
    )
    keep_features: Literal["latest", "all", "none"] = Field(
        "latest", description="Features to keep in the run's folder: those of the latest test, of all, or none."
    )
    report: bool = Field(
        True, description="Write `report/report.html` with tables in the run's folder, and curves for TensorBoard."
    )
    baseline: Literal["gei"] | None = Field(
        None, description="`gei`: also score nearest neighbours of gait energy images, in the same table."
    )

    @model_validator(mode="after")
    def _one_protocol(self) -> EvaluatorCfg:
        if self.protocol is not None and (self.eval_func is not None or self.cross_view_gallery):
            raise ValueError("protocol takes the place of eval_func and cross_view_gallery; set them to null and false")
        return self


class Config(Section):
    """The configuration of an experiment."""

    custom_imports: list[str] = Field(
        [],
        description="Python files to import first, which may register models, losses, transforms and samplers. Paths "
        "are relative to the YAML file (with `--set`, to the working directory). The files are executed: name only "
        "files that you trust.",
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
            count = len(section.transform) if isinstance(section.transform, list) else 1
            if files > 1 and (count != modalities or modalities not in (1, files)):
                raise ValueError(
                    f"{name}.transform: data_cfg.data_in_use reads {files} files of a sequence, so it must be one "
                    f"transform of all as channels, or a list of {files}, one for each, in training as in tests (it "
                    f"has {count}; Compose makes one of several)"
                )
        return self

    @property
    def modalities(self) -> int:
        """The number of inputs of the model: one for each transform if several files are read, else 1."""
        transform = self.trainer_cfg.transform
        return len(transform) if self.data_cfg.files_read > 1 and isinstance(transform, list) else 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain containers, as in the resolved YAML."""
        return self.model_dump()
