"""One typed model per YAML section: every key, its meaning, its default and its valid values.

`docs/configuration.md` is generated from this file (`scripts/generate_configuration_reference.py`). The keys and their
defaults are OpenGait's where OpenGait has them. The sections that name a component (`model_cfg`, each loss, each
transform, the optimiser, the scheduler) carry that component's own keywords, which are checked against its signature
when the experiment is checked as a whole (`dygait.training.checks.component_problems`).
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator, with_config
from typing_extensions import Self, TypedDict

SampleType = Literal[
    "fixed_ordered", "fixed_unordered", "unfixed_ordered", "unfixed_unordered", "all_ordered", "all_unordered"
]


HalfPrecision = bool | Literal["auto"]

_LONGEST_NAME = 200
"""Bytes; file systems take 255, and checkpoints bear the iteration too."""


class Section(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False)


class Component(BaseModel):
    """A mapping that names a component and carries its keywords."""

    model_config = ConfigDict(extra="allow", strict=True, protected_namespaces=(), allow_inf_nan=False)

    @property
    def keywords(self) -> dict[str, Any]:
        """The component's own keywords, without the keys declared here."""
        return dict(self.model_extra or {})


class DataCfg(Section):
    """Which sequences there are, and which people train and which test."""

    dataset_name: str = Field(description="The dataset's name: part of the output path, and what chooses the protocol.")
    dataset_root: str | list[str] = Field(
        description="A packed store, or the folder `<id>/<type>/<view>/<name>.pkl`. A relative path starts at the "
        "working directory or, where nothing is there, at the folder of the YAML file or one of the two above it. "
        "A list of them trains on several datasets together: ids are kept apart, 001 of the second is `2:001`.",
    )
    dataset_partition: str | list[str] | None = Field(
        None,
        description="A JSON file with TRAIN_SET and TEST_SET (and PROBE_SET), found like `dataset_root`, or the name "
        "of a built-in rule: CASIA-B, OUMVLP, GREW. Absent: the rule of `dataset_name`. With a list of roots, a list "
        "of as many.",
    )
    num_workers: int = Field(
        1, ge=0, description="Loader processes per training process; 0 loads in the training process."
    )
    remove_no_gallery: bool = Field(
        False, description="Leave probes without a true match in the gallery out of every result, OUMVLP's included."
    )
    cache: bool = Field(
        False,
        description="Read every sequence once, before training, and keep it in memory: one copy per machine, which all "
        "processes and their workers share. For trees of pickles; a packed store needs none.",
    )
    test_dataset_name: str | None = Field(
        None, description="The dataset's name at test time, where it differs: what chooses the protocol then."
    )
    data_in_use: list[bool] | None = Field(
        None,
        description="A mask over the sorted files of a sequence, true for each that is read. Absent: the first file. "
        "With several true (several modalities), `transform` is a list with one for each; the model must take them.",
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop",
        description="What a sequence that cannot be read does. Every one in use is read once before the run begins: "
        "`stop` names them and ends the run, `skip` leaves them out and counts them.",
    )

    @model_validator(mode="after")
    def _name_is_a_name(self) -> DataCfg:
        check_name("dataset_name", self.dataset_name)
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
    def modalities(self) -> int:
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
        0, ge=0, description="For ordered sampling: choose from a window longer than the frames wanted by so many."
    )
    frames_all_limit: int | None = Field(
        None, description="For `all_*`: at most so many frames, the window in the middle of the sequence; -1: no limit."
    )

    @model_validator(mode="after")
    def _possible_counts(self) -> Self:
        if self.frames_num_min > self.frames_num_max:
            raise ValueError("frames_num_min is larger than frames_num_max")
        if self.frames_all_limit is not None and self.frames_all_limit < 1 and self.frames_all_limit != -1:
            raise ValueError("frames_all_limit must be positive, or -1 for no limit")
        return self


class TrainSamplerCfg(FramesCfg):
    """Which sequences make a batch, and which frames of each."""

    type: str = Field("TripletSampler", description="The batch sampler.")
    batch_size: list[int] | int = Field(
        [8, 16],
        description="[P, K]: P people, K sequences of each, over all processes together. CommonSampler: one number.",
    )
    batch_shuffle: bool = Field(False, description="Shuffle the batch before it is dealt out to the processes.")
    sample_type: SampleType = Field("fixed_unordered", description="How many frames, and whether in their order.")

    @model_validator(mode="after")
    def _possible_batch(self) -> Self:
        size = [self.batch_size, 1] if isinstance(self.batch_size, int) else self.batch_size
        if len(size) != 2 or min(size) < 1:
            raise ValueError("batch_size must be [P, K], two positive numbers (for CommonSampler: one positive number)")
        return self

    @property
    def sequences(self) -> int:
        """How many different sequences a batch asks for, over all processes together."""
        return self.batch_size if isinstance(self.batch_size, int) else math.prod(self.batch_size)


class InferenceSamplerCfg(FramesCfg):
    """How test sequences are batched, and which of their frames are used."""

    type: str = Field("InferenceSampler", description="The batch sampler.")
    frames_budget: int = Field(
        512,
        ge=1,
        description="The most frames that one process takes at a time, padding included: what bounds the memory. "
        "Sequences of like length share a batch; a longer one has its own.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="The most sequences that one process takes at a time. Absent: as many as `frames_budget` holds.",
    )
    sample_type: SampleType = Field("all_ordered", description="As in training; `all_ordered` uses every frame.")


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
    """Weights with settings of their own; those left out are the optimiser's."""

    match: str = Field(
        description="A pattern of weights' names, as of files (`backbone.*`); the first that fits takes."
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
        description="Weights with a learning rate or weight decay of their own, as for fine-tuning. A scheduler goes "
        "on from each group's learning rate; OneCycleLR's and CyclicLR's rates are scaled in proportion to it.",
    )


class SchedulerCfg(Component):
    """The learning rate's schedule, stepped every iteration: a class of `torch.optim.lr_scheduler`, its keywords."""

    scheduler: str = Field("MultiStepLR", description="A class of `torch.optim.lr_scheduler`.")


class TrainerCfg(Section):
    """The training run."""

    enable_float16: HalfPrecision = Field(
        True,
        description="Half precision: float16 with loss scaling on CUDA, bfloat16 on a CPU. `auto`: on CUDA, and on a "
        "CPU that is measured to be faster in it; the log says what it came to, the resolved configuration holds it.",
    )
    half_type: Literal["float16", "bfloat16"] | None = Field(
        None, description="The type of half precision; float16 comes with loss scaling. Absent: by device."
    )
    compile: bool | Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = Field(
        False, description="Compile the network with `torch.compile`: true, or one of its modes."
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="Compute each batch in so many parts, one after the other: memory for one part, the losses and the "
        "gradient of the whole batch. BatchNorm's batch statistics are a part's.",
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
        False, description="Batch statistics over all processes: several then train as one would."
    )
    collective_timeout: float = Field(
        1800.0,
        gt=0,
        description="Seconds that processes wait for the slowest of them, in training, test and extraction; then the "
        "run ends, and those that are missing are named. More than an iteration, or rank 0's scoring, takes.",
    )
    find_unused_parameters: bool = Field(False, description="As in DistributedDataParallel.")
    gradient_compression: Literal["float16", "bfloat16"] | None = Field(
        None, description="Exchange gradients between processes in this type. Absent: as they are."
    )
    tune_allocator: bool = Field(
        True,
        description="On a CPU under Linux, keep freed memory in the process for the next iteration, in training, test "
        "and extraction; DYGAIT_ALLOCATOR=default in the environment does the same as false.",
    )
    with_test: bool = Field(False, description="Test at every checkpoint.")
    log_iter: int = Field(100, ge=1, description="Iterations between log lines.")
    save_iter: int = Field(2000, ge=1, description="Iterations between checkpoints; the last iteration always has one.")
    total_iter: int = Field(80000, ge=1, description="Iterations of the whole run.")
    keep_last: int | None = Field(
        None, ge=1, description="Keep so many of the newest checkpoints, and delete older ones. Absent: keep all."
    )
    keep_every: int | None = Field(
        None, ge=1, description="With `keep_last`: keep those of iterations that this number divides, too."
    )
    restore_hint: int | str = Field(
        0,
        description="The iteration, or the path, of a checkpoint to go on from; `auto`: the newest of this run that is "
        "whole, if there is one; 0: none.",
    )
    restore_ckpt_strict: bool = Field(
        True, description="Every weight must match; else matching ones load and a report tells."
    )
    init_from: str | None = Field(
        None,
        description="A checkpoint, ours or OpenGait's, whose weights a new run starts from, at iteration 0; the class "
        "head starts afresh where the number of classes differs. A run that is gone on with (`restore_hint`) ignores "
        "it.",
    )
    freeze: list[str] = Field(
        [],
        description="Weights that are not trained: patterns of their names, as of files (`backbone.*`). A BatchNorm "
        "whose weights are frozen keeps its statistics.",
    )
    optimizer_reset: bool = Field(False, description="Do not restore the optimiser's state.")
    scheduler_reset: bool = Field(False, description="Do not restore the scheduler's state.")
    save_name: str = Field("tmp", min_length=1, description="The run's name: part of the output path.")
    sampler: TrainSamplerCfg = Field(default_factory=TrainSamplerCfg, description="See `trainer_cfg.sampler`.")
    transform: TransformCfg | list[TransformCfg] = Field(
        default_factory=TransformCfg, description="The input's transform, or a list to apply in turn."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of initialisation, sampling and augmentation.")
    deterministic: bool = Field(
        False,
        description="Bit for bit the same run on the same hardware: deterministic algorithms only, which can be "
        "slower. On a CPU runs repeat as they are.",
    )
    grad_clip_norm: float | None = Field(None, gt=0, description="Clip the gradient to this norm. Absent: no clipping.")
    max_skipped: int = Field(
        20,
        ge=1,
        description="A step whose gradient is not finite is left out; after so many in a row the run ends, and the "
        "batch is saved for `dygait debug-batch`. A smaller number makes the host read the decisions more often.",
    )
    spike_factor: float | None = Field(
        None,
        gt=1,
        description="Leave out steps, too, whose gradient norm is more than so many times the median of the last 100. "
        "Absent: none.",
    )

    @model_validator(mode="after")
    def _name_is_a_name(self) -> TrainerCfg:
        check_name("save_name", self.save_name)
        return self

    @model_validator(mode="after")
    def _parts_of_a_batch(self) -> TrainerCfg:
        if self.accumulate > self.sampler.sequences:
            raise ValueError(f"accumulate is {self.accumulate}, but a batch has {self.sampler.sequences} sequences")
        if self.accumulate > 1 and self.compile in ("reduce-overhead", "max-autotune"):
            raise ValueError(
                f"compile: {self.compile} uses the memory of its results again, which accumulate needs longer; use "
                f"compile: true, or max-autotune-no-cudagraphs"
            )
        return self


def _patterns(value: Any) -> Any:
    """Take one pattern for a list of one, and refuse what cannot be meant."""
    patterns = value if isinstance(value, list) else [value]
    for place, pattern in enumerate(patterns):
        if not isinstance(pattern, str):
            raise ValueError(f"a pattern is text: put {pattern!r} in quotes, as the folder is called ('01', not 1)")
        if not pattern.strip() or pattern != pattern.strip():
            raise ValueError(f"the pattern {pattern!r} is empty, or begins or ends with a space")
        if pattern.count("[") != pattern.count("]"):
            raise ValueError(f"the pattern {pattern!r} has a bracket without its other half; [[] is the character [")
        if pattern in patterns[:place]:
            raise ValueError(f"the pattern {pattern!r} is there twice")
    return patterns


Patterns = Annotated[list[str], BeforeValidator(_patterns)]


class Selector(Section, frozen=True):
    """Chooses sequences by shell patterns; every criterion must hold, and one pattern of a list."""

    types: Patterns = Field(["*"], min_length=1, description="Patterns for the type: `nm-01`, `nm-*`, `*-0[12]`.")
    ids: Patterns = Field(["*"], min_length=1, description="Patterns for the id.")
    views: Patterns = Field(["*"], min_length=1, description="Patterns for the view.")
    not_ids: Patterns = Field([], description="Patterns that the id must not match.")
    listed: bool | None = Field(
        None, description="true: what is in the partition's PROBE_SET; false: what is not. Absent: both."
    )

    @property
    def description(self) -> str:
        """What is chosen, in words."""
        criteria = {"type": self.types, "id": self.ids, "view": self.views}
        parts = [f"{name} {', '.join(patterns)}" for name, patterns in criteria.items() if patterns != ["*"]]
        if self.not_ids:
            parts.append(f"not id {', '.join(self.not_ids)}")
        if self.listed is not None:
            parts.append(f"what is {'' if self.listed else 'not '}in PROBE_SET")
        return " and ".join(parts) or "every sequence"


class ProbeGroup(Section, frozen=True):
    """Probes that are reported together."""

    probes: Selector = Field(description="Which sequences, as `gallery`.")
    gallery: Selector | None = Field(None, description="A gallery of its own. Absent: the protocol's.")
    unmatched: Literal["left out", "counted as wrong"] = Field(
        "left out", description="What becomes of a probe without any true match in the gallery."
    )


class Protocol(Section, frozen=True):
    """How features become numbers: the gallery, groups of probes, what is not compared, and what is reported."""

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
    measures: list[str] = Field(
        ["rank-1"], min_length=1, description="What is reported, the headline first: `rank-<k>`, `mAP`, `mINP`."
    )

    @model_validator(mode="after")
    def _known_measures(self) -> Protocol:
        for place, name in enumerate(self.measures):
            if not re.fullmatch(r"rank-[1-9]\d*|mAP|mINP", name):
                raise ValueError(f"measures: unknown measure {name!r}: rank-<k>, mAP or mINP")
            if name in self.measures[:place]:
                raise ValueError(f"measures: {name!r} is there twice")
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
        parts = [f"gallery {self.gallery.description}", f"probes {' / '.join(probes)}"]
        parts.append("one view at a time" if self.one_view_at_a_time else "whole gallery")
        if self.exclusion != "nothing":
            parts.append(f"{self.exclusion} excluded")
        if self.view_until is not None:
            parts.append(f"views told apart up to {self.view_until!r}")
        return "; ".join(parts)

    @property
    def needs_probe_list(self) -> bool:
        """Whether the partition's PROBE_SET decides what is a probe."""
        selectors = [self.gallery, *(g.probes for g in self.groups.values())]
        selectors += [g.gallery for g in self.groups.values() if g.gallery is not None]
        return any(s.listed is not None for s in selectors)

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
        0, description="The iteration, or the path, of the checkpoint to test; 0: the newest."
    )
    restore_ckpt_strict: bool = Field(True, description="Every weight must match.")
    save_name: str = Field("tmp", min_length=1, description="The run's name: part of the output path.")
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
    def _name_is_a_name(self) -> EvaluatorCfg:
        check_name("save_name", self.save_name)
        return self

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
        wanted = self.data_cfg.modalities
        for name, section in (("trainer_cfg", self.trainer_cfg), ("evaluator_cfg", self.evaluator_cfg)):
            listed = len(section.transform) if isinstance(section.transform, list) else 1
            if wanted > 1 and listed != wanted:
                raise ValueError(
                    f"{name}.transform: data_cfg.data_in_use reads {wanted} files of a sequence, so it must be a list "
                    f"of {wanted} transforms, one for each (it has {listed}; Compose makes one of several)"
                )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return plain containers, as they are written to the resolved YAML."""
        return self.model_dump()


def check_name(key: str, name: str) -> None:
    """Refuse a part of a run's path that would leave its folder, or that no folder can be called."""
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError(f"{key} is one folder's name, without slashes")
    if not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"{key} is the name of a folder: printable, and no longer than {_LONGEST_NAME} bytes")
