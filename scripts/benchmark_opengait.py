"""The speed of a training step beside OpenGait's: the same YAML file, weights and batch, float32, on the CPU.

    pip install einops                                          # what OpenGait's networks import
    git clone https://github.com/ShiqiYu/OpenGait
    python scripts/benchmark_opengait.py OpenGait --json FILE
    python scripts/benchmark_opengait.py OpenGait --only GaitSet --batch 8 4 --frames 30

A step goes from a batch of cut uint8 frames to updated weights: OpenGait's is its own `inputs_pretreament`, forward
pass, losses and `train_step`; ours is that of the runner. Each has a process of its own with all cores, as users start
it: ours with the allocator that the runner chooses. They take steps in alternation; a ratio is OpenGait's time over
ours, the median of the repeats. The losses of the first step must agree, unless the network draws random numbers.

N sequences, S frames, H x W pixels.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import yaml

from common import markdown_table, ratio, write_figures
from compare_with_opengait import Network, find_opengait, frames_like, opengait_model, package_of
from dygait import load_weights
from dygait.config import load_config
from dygait.data.collate import Batch
from dygait.machine import available_cores, tune_allocator
from dygait.training.trainer import build_trainer

TOLERANCE = 1e-3
"""Of the losses of the first step, relative."""

Step = Callable[[], dict[str, float]]


class Case(NamedTuple):
    """A configuration file of OpenGait's, in its folder `configs`, and the frames that its network takes.

    Attributes:
        file: in the folder.
        channels: of a frame.
        random: the network draws random numbers in training.
    """

    file: str
    channels: int = 1
    random: bool = False


CASES = {
    "GaitSet": Case("gaitset/gaitset.yaml"),
    "GaitPart": Case("gaitpart/gaitpart.yaml"),
    "GaitGL": Case("gaitgl/gaitgl.yaml"),
    "GaitBase": Case("gaitbase/gaitbase_da_casiab.yaml"),
    "DeepGaitV2": Case("deepgaitv2/DeepGaitV2_casiab.yaml"),
    "SwinGait": Case("swingait/swingait3D_B1122C2_CCPG.yaml", random=True),
    # In its second phase OpenGait's cross entropy cannot read the logits of its GLN.
    "GLN, first phase": Case("gln/gln_phase1.yaml"),
    "GaitSSB, fine-tuning": Case("gaitssb/finetune_casiab.yaml"),
    "LidarGait": Case("lidargait/lidargait_sustech1k.yaml", 3),
    "SkeletonGait": Case("skeletongait/skeletongait_Gait3D.yaml", 2),
    "SkeletonGait++": Case("skeletongait/skeletongait++_Gait3D.yaml", 3),
}
"""Without MultiGait++, whose files lack a key that OpenGait's network reads."""


def draw_batch(shape: Sequence[int], channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw uint8 silhouettes (N, S, H, W), or (N, S, C, H, W), and their labels (N,): P subjects x K sequences."""
    subjects, each, frames = shape
    torch.manual_seed(0)
    levels = (frames_like(subjects * each, frames, channels) * 255).to(torch.uint8)
    return levels, torch.arange(subjects).repeat_interleave(each)


def opengait_step(path: Path, case: Case, shape: Sequence[int], weights: Path) -> Step:
    """Return OpenGait's step, and write its first weights."""
    for name in ("data", "data.transform", "modeling.loss_aggregator"):
        sys.modules.pop(name, None)
    from data.transform import BaseSilCuttingTransform
    from modeling.loss_aggregator import LossAggregator

    settings = yaml.safe_load(path.read_text())
    model = opengait_model(Network(settings["model_cfg"], settings["data_cfg"]["dataset_name"]))
    torch.save({"model": model.state_dict()}, weights)
    model.msg_mgr = mock.Mock()
    model.cfgs, model.engine_cfg = settings, {"enable_float16": False}
    model.trainer_trfs = [BaseSilCuttingTransform(cutting=0)]
    model.loss_aggregator = LossAggregator(settings["loss_cfg"])
    model.optimizer = model.get_optimizer(settings["optimizer_cfg"])
    model.scheduler = model.get_scheduler(settings["scheduler_cfg"])
    # The base model's, as models of several modalities stack them first, which is done here for both sides.
    base = next(kind for kind in type(model).__mro__ if kind.__name__ == "BaseModel")
    model.train()
    if settings["trainer_cfg"].get("fix_BN"):
        model.fix_BN()
    levels, labels = draw_batch(shape, case.channels)
    inputs = ([list(levels.numpy())], labels.tolist(), ["nm-01"] * len(labels), ["000"] * len(labels), None)

    def step() -> dict[str, float]:
        output = model(base.inputs_pretreament(model, inputs))
        loss, info = model.loss_aggregator(output["training_feat"])
        model.train_step(loss)
        return {name.removeprefix("scalar/"): float(value.mean()) for name, value in info.items()}

    return step


def our_step(path: Path, case: Case, shape: Sequence[int], weights: Path) -> Step:
    """Return the runner's step, from OpenGait's first weights."""
    overrides = ["trainer_cfg.enable_float16=false", f"trainer_cfg.sampler.batch_size={[*shape[:2]]}"]
    trainer = build_trainer(load_config(path, overrides, warn=lambda _: None), torch.device("cpu"))
    assert load_weights(trainer.network, weights).opengait
    trainer.training_mode()
    levels, labels = draw_batch(shape, case.channels)
    batch = Batch(levels, None, labels, torch.arange(len(labels)))
    return lambda: {name: float(value.mean()) for name, value in trainer.step(batch).items()}


def serve(connection: Connection, checkout: Path, ours: bool, name: str, shape: Sequence[int], weights: Path) -> None:
    """Run the process of one side: a step for each message, answered by its seconds and statistics."""
    torch.set_num_threads(available_cores())
    if ours:
        tune_allocator()
    find_opengait(checkout)
    path = checkout / "configs" / CASES[name].file
    single_process = {"get_rank": 0, "get_world_size": 1}
    patches = [mock.patch(f"torch.distributed.{key}", return_value=value) for key, value in single_process.items()]
    patches.append(mock.patch("torch.distributed.all_gather", lambda out, tensor: out[0].copy_(tensor)))
    patches.append(mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor))
    for patch in () if ours else patches:
        patch.start()
    step = (our_step if ours else opengait_step)(path, CASES[name], shape, weights)
    connection.send(None)
    while connection.recv():
        start = time.perf_counter()
        info = step()
        connection.send((time.perf_counter() - start, info))


def measure(checkout: Path, name: str, shape: Sequence[int], repeats: int) -> dict[str, Any]:
    """Return the seconds of both sides' steps in alternation, and the largest difference of their first losses."""
    context = multiprocessing.get_context("spawn")
    sides = []
    with tempfile.TemporaryDirectory() as folder:
        for ours in (False, True):
            connection, other = context.Pipe()
            arguments = (other, checkout, ours, name, shape, Path(folder) / "opengait.pt")
            process = context.Process(target=serve, args=arguments, daemon=True)
            process.start()
            other.close()
            connection.recv()  # OpenGait's weights are there
            sides.append((process, connection))
        seconds: tuple[list[float], list[float]] = ([], [])
        first: list[dict[str, float]] = []
        for repeat in range(repeats + 1):
            for times, (_, connection) in zip(seconds, sides, strict=True):
                connection.send(True)
                taken, info = connection.recv()
                if repeat:
                    times.append(taken)
                else:
                    first.append(info)
    for process, connection in sides:
        connection.send(False)
        process.join()
    shared = [key for key in first[0] if key.endswith("/loss") and key in first[1]]
    assert shared, f"{name}: the sides have no loss in common, of {[*first[0]]} and {[*first[1]]}"
    difference = max(abs(first[0][key] - first[1][key]) / max(abs(first[0][key]), 1e-6) for key in shared)
    if difference > TOLERANCE and not CASES[name].random:
        raise SystemExit(f"{name}: the first step's losses differ by {difference:.1e}: {first}")
    return {"opengait": seconds[0], "ours": seconds[1], "difference": difference}


def main() -> int:
    """Measure the steps."""
    parser = argparse.ArgumentParser(description="The speed of a training step beside OpenGait's.")
    parser.add_argument("checkout", type=Path, help="a checkout of OpenGait")
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="NAME", help="these networks")
    parser.add_argument("--batch", type=int, nargs=2, default=(4, 2), metavar=("P", "K"), help="default: 4 2")
    parser.add_argument("--frames", type=int, default=10, metavar="S", help="of a sequence (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="after one that is not counted (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    package_of(options.checkout)  # before any process is started
    shape = (*options.batch, options.frames)
    details, ratios, rows = {}, {}, []
    for name in options.only or CASES:
        details[name] = result = measure(options.checkout, name, shape, options.repeats)
        ratios[name] = ratio(result["opengait"], result["ours"])
        times = [statistics.median(result[side]) for side in ("opengait", "ours")]
        rows.append([name, *(f"{seconds:.2f}" for seconds in times), f"{ratios[name]:.2f}"])
        print(f"{name}: {ratios[name]:.2f}", file=sys.stderr, flush=True)
    print(markdown_table(rows, ["network", "OpenGait, s", "ours, s", "ratio"]), end="")
    write_figures(options.json, {"ratios": ratios, "details": details})
    return 0


if __name__ == "__main__":
    sys.exit(main())
