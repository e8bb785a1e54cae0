"""Benchmark of a training step: ours against the plain form, and each optimisation against its absence.

The plain form is written as OpenGait and its descendants write it: a worker unpickles whole sequences; the main thread
cuts them and scales them to float64, sequence by sequence, and converts the batch to float32 with `requires_grad`;
three convolutions for each stage of a Dynamic Augmentation Module, on the features and on their difference from the
mean; a normalised copy of the class weights; triplets selected by boolean masks; every statistic of the losses read at
every step; the default optimiser settings; the default allocator of the C library. Ours: the runner's own loader,
trainer and step.

    python scripts/benchmark_training.py                    # about eight minutes on two idle cores
    python scripts/benchmark_training.py --json FILE        # {"ratios": ..., "details": ..., "environment": ...}
    python scripts/benchmark_training.py --plot FILE.svg    # the ratios as bars
    python scripts/benchmark_training.py --quick            # tiny sizes, as a smoke test

Both forms start from the same weights and see the same batches; if their losses, outputs or gradients differ, the
run fails. Every figure is the median of alternating repeats; a ratio is the plain form's time over ours, so that larger
is better. Forms of a module are compared under the same tuned allocator, whose effect is a separate ratio.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from common import ROOT, WholePickles, alternate, markdown_table, ratio, write_figures, write_sequence
from dygait import build_model
from dygait.config import Config, load_config
from dygait.data.dataset import Request
from dygait.data.frame_sampler import FrameSampler
from dygait.data.loader import batches
from dygait.data.packing import pack
from dygait.data.samplers import TripletSampler
from dygait.data.stores import open_store
from dygait.losses import LossAggregator
from dygait.machine import available_cores, tune_allocator
from dygait.modeling.dam import DAMOptions, DynamicAugmentation
from dygait.modeling.kernels.batch_norm import batch_norm
from dygait.profiling.machine_peak import products_per_second
from dygait.runs import networks, sources
from dygait.training import schedules
from dygait.training.muon import orthogonalize
from dygait.training.trainer import build_trainer

CUT = 5
"""Columns cut from each side of the generated frames, which are 32 wide."""
EXACT, GRADIENT = 1e-5, 2e-5
"""Tolerances of values and gradients of two forms of a module, relative to the largest value: float32 rounding, twice
as much for a gradient through two stages of Winograd filtering."""
FIRST, LATER = 1e-4, 5e-3
"""Relative tolerances of the losses of whole steps, of the first and of later ones: the first steps of AdamW are as
large for a gradient of rounding noise as for any other."""
COMPARED = 3
"""Number of steps whose losses are compared."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements.

    Attributes:
        dam: (N, C, S, H, W) of the input and C of the output of one module.
        channels: of the deep network.
        silhouettes: (N, S, H, W) of its input.
        norm: (N, C, H, W) of a BatchNorm's input.
        overrides: of the configuration of the whole step.
        sequence: frames of a generated sequence.
        warm: warm-up steps.
        steps: steps of a repeat.
    """

    dam: tuple[tuple[int, ...], int]
    channels: list[int]
    silhouettes: tuple[int, ...]
    norm: tuple[int, ...]
    overrides: tuple[str, ...]
    sequence: int
    warm: int
    steps: int


FULL = Sizes(((4, 64, 30, 32, 22), 128), [16, 32, 64, 128], (4, 30, 64, 44), (120, 64, 64, 44), (), 80, 4, 4)
QUICK = Sizes(
    ((1, 4, 6, 8, 6), 8),
    [2, 4, 4, 8],
    (2, 6, 64, 44),
    (2, 4, 8, 6),
    (
        "model_cfg.channels=[2, 4, 4]",
        "data_cfg.num_workers=0",
        "model_cfg.SeparateBNNecks={class_num: 74, in_channels: 4, parts_num: 31}",
        "trainer_cfg.sampler={batch_size: [2, 2], sample_type: fixed_ordered, frames_num_fixed: 6}",
    ),
    8,
    1,
    1,
)


# ---- the plain form ------------------------------------------------------------------------------------------------


class PlainStage(nn.Module):
    """A stage of the DAM, directly after the formula, with BatchNorm."""

    def __init__(self, before: int, after: int, spatial_frames: int) -> None:
        super().__init__()
        self.conv_global = nn.Conv3d(before, after, 3, padding=1, bias=False)
        self.conv_dynamic = nn.Conv3d(before, after, 3, padding=1, bias=False)
        spatial, padding = (spatial_frames, 3, 3), (spatial_frames // 2, 1, 1)
        self.conv_spatial = nn.Conv3d(before, after, spatial, padding=padding, bias=False)
        self.norm_global = nn.BatchNorm3d(after)
        self.norm_local = nn.BatchNorm3d(after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, S, H, W) to (N, C', S, H, W)."""
        moving = x - torch.mean(x, dim=2, keepdim=True)
        local = self.conv_dynamic(moving) + self.conv_spatial(x)
        return F.relu(self.norm_global(self.conv_global(x))) + F.relu(self.norm_local(local))


class PlainModule(nn.Module):
    """Two stages and a shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stage1 = PlainStage(before, after, 1)
        self.stage2 = PlainStage(after, after, 3)
        self.shortcut = nn.Identity() if before == after else nn.Conv3d(before, after, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, S, H, W) to (N, C', S, H, W)."""
        return self.stage2(self.stage1(x)) + self.shortcut(x)


class PlainBackbone(nn.Module):
    """The shallow network."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        c0, c1, c2 = channels
        self.conv0 = nn.Conv3d(1, c0, 3, padding=1, bias=False)
        self.lta = nn.ModuleDict({"conv": nn.Conv3d(c0, c0, (3, 1, 1), stride=(3, 1, 1), bias=False)})
        self.dam0 = PlainModule(c0, c1)
        self.dam1 = PlainModule(c1, c2)
        self.dam2 = PlainModule(c2, c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1, S, H, W) to (N, C, S // 3, H // 2, W // 2)."""
        x = F.leaky_relu(self.lta["conv"](F.leaky_relu(self.conv0(x), 0.01)), 0.01)
        x = F.max_pool3d(self.dam0(x), (1, 2, 2), stride=(1, 2, 2))
        return self.dam2(self.dam1(x))


class PlainHead(nn.Module):
    """A linear layer for each part, with a BNNeck before that of the classes."""

    def __init__(self, parts: int, before: int, after: int, neck: bool) -> None:
        super().__init__()
        self.fc_bin = nn.Parameter(torch.zeros(parts, before, after))
        self.bn1d = nn.BatchNorm1d(before * parts) if neck else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, P) to (N, C', P)."""
        n, c, p = x.shape
        weight = self.fc_bin
        if self.bn1d is not None:
            x = self.bn1d(x.reshape(n, -1)).view(n, c, p)
        rows = x.permute(2, 0, 1).contiguous()
        if self.bn1d is not None:
            rows, weight = F.normalize(rows, dim=-1), F.normalize(weight, dim=1)
        return rows.matmul(weight).permute(1, 2, 0).contiguous()


class PlainNetwork(nn.Module):
    """DyGait, shallow, with BatchNorm and BNNecks; with the parameter names of ours."""

    def __init__(self, channels: list[int], bins: list[int], classes: int) -> None:
        super().__init__()
        self.bins = bins
        self.backbone = PlainBackbone(channels)
        self.pooling = nn.ParameterDict({"p": nn.Parameter(torch.ones(1) * 6.5)})
        self.fcs = PlainHead(sum(bins), channels[-1], channels[-1], False)
        self.necks = PlainHead(sum(bins), channels[-1], classes, True)

    def forward(self, silhouettes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, S, H, W) to embeddings (N, C, P) and logits (N, K, P)."""
        x = torch.max(self.backbone(silhouettes.unsqueeze(1)), dim=2)[0]
        n, c = x.shape[:2]
        p = self.pooling["p"]
        strips = [x.view(n, c, b, -1).clamp(min=1e-6).pow(p).mean(-1).pow(1.0 / p) for b in self.bins]
        parts = self.fcs(torch.cat(strips, -1))
        return parts, self.necks(parts)


def plain_losses(
    embeddings: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor, margin: float, scale: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return triplet loss plus smoothed cross entropy, and the statistics."""
    rows = embeddings.permute(2, 0, 1).contiguous().float()
    squares = torch.sum(rows**2, -1)
    inner = rows.matmul(rows.transpose(1, 2))
    distance = torch.sqrt(F.relu(squares.unsqueeze(2) + squares.unsqueeze(1) - 2 * inner))
    parts, n, _ = distance.shape
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    positive = distance[:, same].view(parts, n, -1, 1)
    negative = distance[:, ~same].view(parts, n, 1, -1)
    violation = F.relu((positive - negative).view(parts, -1) + margin)
    count = (violation != 0).sum(-1).float()
    triplet = violation.sum(-1) / (count + 1e-9)
    triplet[count == 0] = 0
    logits = logits.float()
    target = labels.unsqueeze(1).repeat(1, logits.shape[2])
    softmax = F.cross_entropy(logits * scale, target, label_smoothing=0.1)
    reported = {
        "triplet": triplet.detach().clone(),
        "hard": torch.max(violation, -1)[0].detach().clone(),
        "count": count.detach().clone(),
        "distance": distance.mean((1, 2)).detach().clone(),
        "softmax": softmax.detach().clone(),
        "accuracy": (logits.argmax(dim=1) == labels.unsqueeze(1)).float().mean(),
    }
    return triplet.mean() + softmax, reported


class ListsOfFrames:
    """Collates: the frames of each sequence in a list, then in an array."""

    def __init__(self, frames: FrameSampler, labels: list[int]) -> None:
        self.frames = frames
        self.labels = labels

    def __call__(self, items: list[tuple[np.ndarray, Request]]) -> tuple[list[np.ndarray], list[int]]:
        """Choose the same frames as our loader."""
        chosen = []
        for frames, request in items:
            rng = np.random.default_rng(np.random.SeedSequence(request.key))
            chosen.append(np.asarray([frames[i] for i in self.frames(len(frames), rng)]))
        return chosen, [self.labels[request.sequence] for _, request in items]


# ---- whole steps ---------------------------------------------------------------------------------------------------

Steps = Iterator[float]
"""Runs a step, data included, at each `next`, and yields its loss."""


def plain_steps(config: Config) -> Steps:
    """Yield the losses of steps in the plain form."""
    data = sources.open_data(config)
    sampler, loss_cfg = config.trainer_cfg.sampler, [term.keywords for term in config.loss_cfg]
    labels = [data.train_ids.index(name) for name in data.store.table.ids.take(np.arange(len(data.store.table)))]
    dataset = WholePickles([data.store.location(index) for index in range(len(labels))])
    loader = DataLoader(
        dataset,
        batch_sampler=TripletSampler(labels, sampler.batch_size, seed=config.trainer_cfg.seed, total_iterations=10**6),
        collate_fn=ListsOfFrames(FrameSampler(sampler.sample_type, sampler.frames_num_fixed), labels),
        num_workers=config.data_cfg.num_workers,
    )
    ours = networks.build_network(config, torch.device("cpu"))
    settings = config.model_cfg.keywords
    model = PlainNetwork(settings["channels"], settings["bin_num"], settings["SeparateBNNecks"]["class_num"])
    model.load_state_dict({name.replace(".norm.", "."): value for name, value in ours.state_dict().items()})
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimizer_cfg.lr, **config.optimizer_cfg.keywords)
    scheduler = schedules.build_scheduler(config, optimizer)
    reports: list[dict[str, np.ndarray]] = []
    for sequences, people in loader:
        scaled = np.asarray([frames[..., CUT:-CUT] / 255.0 for frames in sequences])
        silhouettes = torch.from_numpy(scaled).requires_grad_().float()
        embeddings, logits = model(silhouettes)
        loss, reported = plain_losses(
            embeddings, logits, torch.tensor(people), loss_cfg[0]["margin"], loss_cfg[1]["scale"]
        )
        optimizer.zero_grad()
        assert not loss <= 1e-9
        loss.backward()
        optimizer.step()
        scheduler.step()
        reports.append({name: value.cpu().numpy() for name, value in reported.items()})
        yield loss.item()


def our_steps(config: Config) -> Steps:
    """Yield the losses of the runner's steps."""
    device = torch.device("cpu")
    data = sources.open_data(config)
    trainer = build_trainer(config, device)
    trainer.training_mode()
    source = sources.build_training_source(config, data, device, 0)
    for batch in batches(source.loader):
        # Read at every step, because the losses are compared; the runner reads them every `log_iter` steps.
        info = trainer.step(batch)
        yield float(info["triplet/loss"] + info["softmax/loss"])


@dataclass(frozen=True)
class Variant:
    """A form of the step, which runs in a separate process.

    Attributes:
        plain: the plain form.
        overrides: of the configuration.
        allocator: `tuned` or `default`.
    """

    plain: bool = False
    overrides: tuple[str, ...] = ()
    allocator: str = "tuned"


FULL_PRECISION, HALF = ("trainer_cfg.enable_float16=false",), ("trainer_cfg.enable_float16=true",)
VARIANTS = {
    "plain": Variant(True, FULL_PRECISION, "default"),
    "plain, tuned allocator": Variant(True, FULL_PRECISION),
    "ours, default allocator": Variant(False, FULL_PRECISION, "default"),
    "ours": Variant(False, FULL_PRECISION),
    "ours, bf16": Variant(False, HALF),
}
STEP_RATIOS = {
    "step_fp32": ("plain", "ours"),
    "step_bf16": ("plain", "ours, bf16"),
    "allocator": ("ours, default allocator", "ours"),
    "step_equal_allocator": ("plain, tuned allocator", "ours"),
    "bf16_over_fp32": ("ours", "ours, bf16"),
}
"""The time of the first variant over that of the second."""


def step_config(root: Path, overrides: tuple[str, ...]) -> Config:
    """The configuration of the whole step: the small network for CASIA-B at 32 x 22, on the generated data."""
    return load_config(ROOT / "configs" / "Dygait_CASIA-B_cpu.yaml", [
        f"data_cfg.dataset_root={root}", f"data_cfg.dataset_partition={root.parent / 'partition.json'}",
        f"trainer_cfg.transform={{type: BaseSilCuttingTransform, cutting: {CUT}}}",
        "model_cfg.input_size=[32, 22]", "model_cfg.bin_num=[16, 8, 4, 2, 1]", "model_cfg.SeparateBNNecks.parts_num=31",
        f"model_cfg.SeparateBNNecks.part_weights={[1] * 31}", "trainer_cfg.sampler.frames_num_fixed=30",
        "optimizer_cfg={solver: AdamW, lr: 2.0e-3, betas: [0.9, 0.99], weight_decay: 0.02}", *overrides,
    ])  # fmt: skip


def serve(name: str, root: Path, quick: bool) -> None:
    """Run the process of a variant: run the number of steps in each line of stdin, and print time and losses."""
    variant = VARIANTS[name]
    torch.set_num_threads(1 if quick else available_cores())
    if variant.allocator == "tuned":
        tune_allocator()
    config = step_config(
        root / ("pickles" if variant.plain else "store"), (QUICK if quick else FULL).overrides + variant.overrides
    )
    steps = plain_steps(config) if variant.plain else our_steps(config)
    for line in sys.stdin:
        start = time.perf_counter()
        losses = [next(steps) for _ in range(int(line))]
        print(json.dumps({"seconds": (time.perf_counter() - start) / int(line), "losses": losses}), flush=True)


class Process:
    """The process of a variant, seen from the benchmark."""

    def __init__(self, name: str, root: Path, quick: bool) -> None:
        self.name = name
        allocator = {"DYGAIT_ALLOCATOR": "default"} if VARIANTS[name].allocator == "default" else {}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--variant", name, "--data", str(root), *(["--quick"] if quick else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **allocator},
        )  # fmt: skip

    def take(self, steps: int) -> dict[str, Any]:
        """Run some steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: its process ended")
        return json.loads(answer)

    def end(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def measure_steps(figures: Figures, sizes: Sizes, repeats: int, quick: bool) -> None:
    """Measure whole steps, each variant in a separate process, in alternation, and compare their losses."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_data(root, sizes.sequence)
        processes = [Process(name, root, quick) for name in VARIANTS]
        try:
            losses = {p.name: p.take(max(COMPARED, sizes.warm))["losses"][:COMPARED] for p in processes}
            compare_losses(losses)
            seconds: dict[str, list[float]] = {p.name: [] for p in processes}
            for _ in range(repeats):
                for process in processes:
                    seconds[process.name].append(process.take(sizes.steps)["seconds"])
        finally:
            for process in processes:
                process.end()
    figures.details["first_losses"] = losses
    for name, values in seconds.items():
        figures.add_times(f"step, {name}", values)
    for name, (theirs, mine) in STEP_RATIOS.items():
        figures.compare(name, seconds[theirs], seconds[mine])


def compare_losses(losses: dict[str, list[float]]) -> None:
    """Fail if the losses of a float32 variant differ from those of the plain form."""
    for name, values in losses.items():
        if HALF[0] in VARIANTS[name].overrides:
            continue
        for step, (theirs, mine) in enumerate(zip(losses["plain"], values, strict=True)):
            if abs(theirs - mine) > (LATER if step else FIRST) * abs(theirs):
                raise SystemExit(f"step {step + 1}: the loss of `{name}` is {mine}, in the plain form it is {theirs}")


def make_data(root: Path, frames: int) -> None:
    """Write 8 people x 8 sequences, as a tree of pickles and as a packed store, and their partition."""
    rng = np.random.default_rng(0)
    for person in range(8):
        for number in range(8):
            levels = np.zeros((frames, 32, 32), np.uint8)
            for index, frame in enumerate(levels):
                left = 12 + (index + number) % 4
                frame[2 + person % 3 :, left : left + 4 + person] = 255
                frame[rng.random(frame.shape) < 0.02] = 255
            write_sequence(root / "pickles", f"{person + 1:03d}", f"nm-{number + 1:02d}", "090", levels)
    ids = [f"{person + 1:03d}" for person in range(8)]
    (root / "partition.json").write_text(json.dumps({"TRAIN_SET": ids, "TEST_SET": []}))
    pack(root / "pickles", root / "store")
    assert open_store(root / "store").table.all_keys() == open_store(root / "pickles").table.all_keys()


# ---- forms of a module and of a network ----------------------------------------------------------------------------


def largest_difference(
    name: str, theirs: list[list[torch.Tensor]], mine: list[list[torch.Tensor]], allowed: float = EXACT
) -> float:
    """Return the largest difference in a group of tensors, relative to its largest value; fail if it is too large.

    The gradients of a module's weights are one group: the dynamic branch's is a difference of sums as large as the
    global branch's is.
    """
    worst = 0.0
    for ours, plain in zip(mine, theirs, strict=True):
        size = max(float(tensor.abs().max()) for tensor in plain)
        worst = max(worst, *(float((a - b).abs().max()) / size for a, b in zip(plain, ours, strict=True)))
    if not worst <= allowed:
        raise SystemExit(f"{name}: the two forms differ by {worst:.2g}, relative to the largest value")
    return worst


def measure_module(figures: Figures, sizes: Sizes, repeats: int) -> None:
    """Measure one DAM in both forms: without gradient, and forward and backward."""
    shape, out = sizes.dam
    torch.manual_seed(0)
    modules = [DynamicAugmentation(shape[1], out, DAMOptions(form=form)) for form in ("plain", "fast")]
    with torch.no_grad():
        # No sum near zero: rounding would put some on the other side of a relu, and the gradient would jump there.
        for name, weight in modules[0].named_parameters():
            weight.abs_().mul_(0.1 if "dynamic" in name else 1.0)
    modules[1].load_state_dict(modules[0].state_dict())
    x = torch.rand(shape)

    def forward(module: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return module(x)

    def train(module: nn.Module) -> list[list[torch.Tensor]]:
        leaf = x.clone().requires_grad_()
        module.zero_grad()
        module(leaf).square().mean().backward()
        return [[leaf.grad], [p.grad for p in module.parameters()]]

    equal = figures.details["largest_relative_difference"]
    equal["dam_train"] = largest_difference("dam_train", *(train(module) for module in modules), allowed=GRADIENT)
    figures.measure("dam_train", repeats, *(lambda m=m: train(m) for m in modules))
    for module in modules:
        module.eval()  # as at a test
    equal["dam_forward"] = largest_difference("dam_forward", *([[forward(module)]] for module in modules))
    figures.measure("dam_forward", 2 * repeats, *(lambda m=m: forward(m) for m in modules))


def measure_network(figures: Figures, sizes: Sizes, repeats: int) -> None:
    """Measure the whole deep network with its losses, forward and backward, in both forms."""
    necks = {"class_num": 74, "in_channels": sizes.channels[-1], "parts_num": 31}
    cfg = {"model": "DyGait", "variant": "deep", "channels": sizes.channels, "norm": "batch", "SeparateBNNecks": necks}
    torch.manual_seed(0)
    networks = [build_model({**cfg, "dam": form}) for form in ("plain", "fast")]
    networks[1].load_state_dict(networks[0].state_dict())
    losses = LossAggregator([{"type": "TripletLoss", "margin": 0.2}, {"type": "CrossEntropyLoss", "scale": 16}])
    silhouettes = (torch.rand(sizes.silhouettes) > 0.5).float()
    labels = torch.arange(len(silhouettes)) // 2

    def train(network: nn.Module) -> torch.Tensor:
        network.zero_grad()
        loss, _ = losses(network(silhouettes), labels)
        loss.backward()
        return loss.detach()

    values = [[[train(network)]] for network in networks]
    figures.details["largest_relative_difference"]["network_train"] = largest_difference("network_train", *values)
    figures.measure("network_train", repeats, *(lambda n=n: train(n) for n in networks))


def measure_batch_norm(figures: Figures, sizes: Sizes, repeats: int) -> None:
    """Measure BatchNorm of a channels-last map in training, by PyTorch's kernel and by ours, and their errors."""
    torch.manual_seed(0)
    x, gradient = (torch.randn(sizes.norm).contiguous(memory_format=torch.channels_last) for _ in range(2))
    weight, bias = torch.ones(2, sizes.norm[1])

    def train(function: Callable[..., torch.Tensor], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
        leaves = [t.to(dtype).detach().requires_grad_() for t in (x, weight, bias)]
        y = function(leaves[0], None, None, *leaves[1:], True, 0.1, 1e-5)
        return [y.detach(), *torch.autograd.grad(y, leaves, gradient.to(dtype))]

    forms = {"torch": F.batch_norm, "ours": batch_norm}
    exact = train(F.batch_norm, torch.float64)
    names = ("output", "gradient", "of weight", "of bias")
    for name, function in forms.items():
        results = zip(names, train(function), exact, strict=True)
        figures.details[f"batch_norm_error_{name}"] = {
            k: float((a - b).abs().max() / b.abs().max()) for k, a, b in results
        }
    del exact
    figures.measure("batch_norm", 4 * repeats, *(lambda f=f: train(f) for f in forms.values()))


def measure_muon(figures: Figures, sizes: Sizes, repeats: int) -> None:
    """Measure MuonAdamW's orthogonalised steps of the deep network's matrices, by the plain iterations and by ours."""
    torch.manual_seed(0)
    network = build_model({"model": "DyGait", "variant": "deep", "channels": sizes.channels, "norm": "batch"})
    weights = [torch.randn_like(weight) for weight in network.parameters() if weight.ndim >= 2]
    steps = [weight if weight.ndim == 3 else weight.flatten(1) for weight in weights]

    def plain(step: torch.Tensor) -> torch.Tensor:
        x = step.mT if step.shape[-2] > step.shape[-1] else step
        x = x / x.norm(dim=(-2, -1), keepdim=True)
        for _ in range(5):
            gram = x @ x.mT
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return x.mT if step.shape[-2] > step.shape[-1] else x

    forms = (plain, orthogonalize)
    # In double precision: the iterations enlarge rounding.
    in_float64 = ([[form(step.double())] for step in steps] for form in forms)
    figures.details["largest_relative_difference"]["muon"] = largest_difference("muon", *in_float64)
    figures.measure("muon", 4 * repeats, *(lambda f=f: [f(step) for step in steps] for f in forms))


# ---- figures -------------------------------------------------------------------------------------------------------


class Figures:
    """The measurements."""

    def __init__(self) -> None:
        self.ratios: dict[str, float] = {}
        self.details: dict[str, Any] = {"seconds": {}, "spread_of_ratios": {}, "largest_relative_difference": {}}

    def add_times(self, name: str, seconds: list[float]) -> None:
        """Add times: their median, minimum and maximum."""
        median, fastest, slowest = statistics.median(seconds), min(seconds), max(seconds)
        self.details["seconds"][name] = {
            "median": round(median, 4),
            "fastest": round(fastest, 4),
            "slowest": round(slowest, 4),
        }
        print(f"{name:32} {median:9.4f} s  ({fastest:.4f} to {slowest:.4f})", flush=True)

    def compare(self, name: str, theirs: list[float], mine: list[float]) -> None:
        """Add a ratio: the median over repeats, and its spread."""
        ratios = [a / b for a, b in zip(theirs, mine, strict=True)]
        self.ratios[name] = ratio(theirs, mine)
        self.details["spread_of_ratios"][name] = [round(min(ratios), 2), round(max(ratios), 2)]

    def measure(self, name: str, repeats: int, *forms: Callable[[], Any]) -> None:
        """Add the times of a plain and a fast form, and their ratio."""
        seconds, _ = alternate(repeats, *forms, warm_up=True)
        for form, times in zip(("plain", "fast"), seconds, strict=True):
            self.add_times(f"{name}, {form}", times)
        self.compare(name, *seconds)


def bars(ratios: dict[str, float]) -> str:
    """Draw ratios as bars, in SVG."""
    wide, row, label = 420, 28, 190
    longest = max(*ratios.values(), 1.0)
    height = row * len(ratios) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{label + wide + 60}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20">The plain form over ours: how many times as fast</text>',
    ]
    for index, (name, value) in enumerate(ratios.items()):
        top, length = 32 + index * row, wide * value / longest
        parts.append(
            f'<text x="{label - 8}" y="{top + 15}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="{label}" y="{top}" width="{length:.1f}" height="{row - 8}" fill="#3b6ea5"/>'
            f'<text x="{label + length + 6:.1f}" y="{top + 15}">{value:.2f}</text>'
        )
    x = label + wide / longest
    parts.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="28" y2="{height - 12}" stroke="black" stroke-dasharray="3"/></svg>'
    )
    return "\n".join(parts) + "\n"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="A training step of ours beside the plain form.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--repeats", type=int, default=5, help="alternating repeats (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the ratios")
    parser.add_argument("--variant", choices=list(VARIANTS), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        serve(options.variant, options.data, options.quick)
        return 0
    sizes = QUICK if options.quick else FULL
    torch.set_num_threads(1 if options.quick else available_cores())
    figures = Figures()
    figures.details["allocator"] = tune_allocator()[1]
    cpu = torch.device("cpu")
    if not options.quick:
        rates = {d: products_per_second(cpu, getattr(torch, d)) for d in ("float32", "bfloat16")}
        figures.details["peak_multiply_adds_per_second"] = {d: round(rate) for d, rate in rates.items()}
    measure_module(figures, sizes, options.repeats)
    measure_network(figures, sizes, options.repeats)
    measure_batch_norm(figures, sizes, options.repeats)
    measure_muon(figures, sizes, options.repeats)
    measure_steps(figures, sizes, options.repeats, options.quick)
    spread = figures.details["spread_of_ratios"]
    cells = [
        (f"`{name}`", f"{value:.2f}", "{:.2f} to {:.2f}".format(*spread[name]))
        for name, value in figures.ratios.items()
    ]
    print("\n" + markdown_table(cells, ("ratio", "median", "spread")))
    result = {"ratios": figures.ratios, "details": figures.details}
    has_bfloat16 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    write_figures(options.json, result, bfloat16_by_itself=bool(has_bfloat16()))
    if options.plot is not None:
        options.plot.write_text(bars(figures.ratios), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
