"""Our networks beside OpenGait's own modules: the same weights, the same silhouettes, on the CPU.

    pip install einops                                          # what OpenGait's networks import
    git clone https://github.com/ShiqiYu/OpenGait
    python scripts/compare_with_opengait.py OpenGait            # two minutes on one core
    python scripts/compare_with_opengait.py OpenGait --only "GaitSet, CASIA-B" "GaitBase, Plain" --json FILE

OpenGait's weights are saved as a checkpoint and read with `dygait.load_weights`. In training mode, one step without the
optimiser's: embeddings, logits, running statistics, and the gradients of a fixed random sum of embeddings and logits;
dropout and stochastic depth draw the same numbers.
In evaluation mode, a padded batch of ours against OpenGait's on one sequence at a time. Everything in float32 with each
number of threads, and in float64. In the tables, after a float32 difference: how far our float32 is from our float64,
and OpenGait's from its own, which is what rounding alone explains.

The exit code is 1 where a difference is beyond its limit. N sequences, S frames, H x W pixels.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import math
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import yaml
from torch import nn

from common import ROOT, markdown_table, write_figures
from dygait import build_model, load_weights
from dygait.losses.views import contrast
from dygait.modeling.opengait_names import opengait_names

THREADS = (1, 2)
MODES = ("training", "evaluation")
KINDS = ("embeddings", "logits", "statistics", "gradients")
LIMITS = {"embeddings": 1e-5, "logits": 1e-4, "statistics": 1e-6}
"""Largest allowed difference in float32, in either mode."""
FLOAT64_LIMITS = {"embeddings": 1e-10, "logits": 1e-10, "statistics": 1e-10, "gradients": 1e-9}
"""Likewise in float64, where PyTorch's own BatchNorm is some 3e-13 from the exact variance.

In float32 gradients have no limit: where the two largest values are nearly equal, or a ReLU's input is nearly zero,
rounding decides where a gradient goes.
"""
UNUSED = (
    "data", "data.transform", "data.collate_fn", "data.dataset", "data.sampler", "evaluation",
    "modeling.loss_aggregator", "matplotlib", "matplotlib.pyplot",
    "kornia",
)  # fmt: skip
"""Modules that OpenGait's networks import and do not use."""
BACKBONES = {"ResNet9": "resnet", "Plain": "plain"}
FILES = {
    "SkeletonGaitPP": "skeletongait++", "MultiGaitpp": "multigait++", "GaitSSB_Pretrain": "gaitssb",
    "GaitSSB_Finetune": "gaitssb",
}  # fmt: skip
"""Names of OpenGait's modules, where they are not those of their models in lower case."""

Results = dict[str, dict[str, torch.Tensor]]
"""`embeddings`, `logits`, `statistics` and `gradients`, each a tensor or several by OpenGait's names."""


@dataclass(frozen=True)
class Network:
    """A network to compare, and the batch that it sees.

    Attributes:
        model_cfg: for either side; `model` is OpenGait's class.
        dataset: the dataset's name, by which GaitGL chooses its depth.
        shape: (N, S) of the batch.
        channels: of a frame.
    """

    model_cfg: dict[str, Any]
    dataset: str = "CASIA-B"
    shape: tuple[int, int] = (6, 6)
    channels: int = 1


def shipped(name: str) -> Network:
    """Return a network at its CASIA-B size."""
    model_cfg = yaml.safe_load((ROOT / "configs" / f"{name}_CASIA-B.yaml").read_text())["model_cfg"]
    return Network({**model_cfg, "model": "Baseline" if name == "GaitBase" else name}, shape=(3, 4))


def necks(channels: int, parts: int) -> dict[str, int]:
    """Return the sizes of a BNNeck head."""
    return {"class_num": 10, "in_channels": channels, "parts_num": parts}


def small_gaitgl(channels: list[int], dataset: str, bnnecks: bool) -> Network:
    """Return a GaitGL of either depth with either head."""
    head = {"SeparateBNNecks": necks(channels[-1], 64)} if bnnecks else {}
    return Network({"model": "GaitGL", "channels": channels, "class_num": 10, **head}, dataset)


def small_gaitbase(backbone: dict[str, Any], parts: int) -> Network:
    """Return a GaitBase on a backbone with 32 channels."""
    sizes = {"in_channels": 32, "out_channels": 24, "parts_num": parts}
    heads = {"SeparateFCs": sizes, "SeparateBNNecks": necks(24, parts)}
    return Network({"model": "Baseline", "backbone_cfg": backbone, "bin_num": [parts], **heads})


def small_resnet9(maxpool: bool) -> dict[str, Any]:
    """Return the backbone of GaitBase with few channels."""
    sizes = {"channels": [8, 16, 24, 32], "layers": [1, 1, 1, 1], "strides": [1, 2, 2, 1], "maxpool": maxpool}
    return {"type": "ResNet9", "block": "BasicBlock", **sizes}


def small_deepgaitv2(mode: str, blocks: int) -> Network:
    """Return a DeepGaitV2 with so many blocks in each of the middle stages."""
    sizes = {"in_channels": 1, "layers": [1, blocks, blocks, 1], "channels": [8, 16, 24, 32]}
    return Network({"model": "DeepGaitV2", "Backbone": {"mode": mode, **sizes}, "SeparateBNNecks": {"class_num": 10}})


def scoliosis() -> Network:
    """Return a small ScoNet."""
    cfg = small_gaitbase(small_resnet9(False), 16).model_cfg
    return Network({**cfg, "model": "ScoNet", "SeparateBNNecks": {**necks(24, 16), "class_num": 3}})


def small_gln(pretraining: bool) -> Network:
    """Return a GLN in either phase."""
    sizes = {"in_channels": 16, "out_channels": 12, "parts_num": 93}
    more = {"bin_num": [16, 8, 4, 2, 1], "dropout": 0.5, "class_num": 10, "Lateral_pretraining": pretraining}
    channels = {"in_channels": [1, 8, 12, 16], "lateral_dim": 16, "hidden_dim": 12}
    return Network({"model": "GLN", **channels, "SeparateFCs": sizes, **more})


def small_swingait(layers: list[int]) -> Network:
    """Return a SwinGait with few channels before its transformer, whose width OpenGait fixes."""
    sizes = {"mode": "p3d", "in_channels": 1, "layers": layers, "channels": [8, 16]}
    return Network({"model": "SwinGait", "Backbone": sizes, "bin_num": [15], "SeparateBNNecks": necks(256, 16)})


def small_multimodal(model: str, channels: int, **more: int) -> Network:
    """Return a network of several modalities; OpenGait's MultiGait++ has one width."""
    sizes = {"in_channels": channels, "blocks": [1, 2, 1, 1], "C": 2 if model == "MultiGaitpp" else 1, **more}
    model_cfg = {"model": model, "Backbone": sizes, "SeparateBNNecks": {"class_num": 10}}
    return Network(model_cfg, shape=(4, 4), channels=channels)


def small_gaitssb(phase: str, **rates: Any) -> Network:
    """Return a small GaitSSB of either phase."""
    model_cfg = {"model": f"GaitSSB_{phase}", "backbone_cfg": small_resnet9(False), "parts_num": 31, **rates}
    return Network(model_cfg, shape=(32, 3))  # fewer are too few for the statistics of a view's sequences


def networks() -> dict[str, Network]:
    """Return the networks to compare, by name."""
    plain = {"type": "Plain", "in_channels": 1, "layers_cfg": ["BC-8", "BC-8", "M", "FC-16-1", "M", "FC-32-2"]}
    by_name = {f"{n}, CASIA-B": shipped(n) for n in ("GaitSet", "GaitPart", "GaitGL", "GaitBase", "DeepGaitV2")}
    for depth, channels, dataset in (("shallow", [8, 16, 24], "CASIA-B"), ("deep", [8, 16, 24, 32], "OUMVLP")):
        for bnnecks in (False, True):
            name = f"GaitGL, {depth}, {'BNNecks' if bnnecks else 'its own head'}"
            by_name[name] = small_gaitgl(channels, dataset, bnnecks)
    by_name["GaitBase, ResNet9"] = small_gaitbase(small_resnet9(False), 16)
    by_name["GaitBase, ResNet9, max pooling"] = small_gaitbase(small_resnet9(True), 8)
    by_name["GaitBase, Plain"] = small_gaitbase(plain, 16)
    for mode in ("2d", "3d", "p3d"):
        for blocks, depth_name in ((1, "one block"), (4, "four blocks")):
            by_name[f"DeepGaitV2, {mode}, {depth_name}"] = small_deepgaitv2(mode, blocks)
    by_name["SwinGait, 1 1 2 2"] = small_swingait([1, 1, 2, 2])
    by_name["SwinGait, 1 4 4 2"] = small_swingait([1, 4, 4, 2])
    by_name["GLN, first phase"], by_name["GLN, second phase"] = small_gln(True), small_gln(False)
    by_name["ScoNet"] = scoliosis()
    lidar, skeleton = small_gaitbase({**small_resnet9(False), "in_channel": 3}, 16), small_deepgaitv2("p3d", 1)
    by_name["LidarGait"] = replace(lidar, channels=3)
    skeleton.model_cfg["Backbone"]["in_channels"] = 2
    by_name["SkeletonGait"] = replace(skeleton, channels=2)
    by_name["SkeletonGait++"] = small_multimodal("SkeletonGaitPP", 3)
    for parts in ((1, 1), (2, 3)):
        name = f"MultiGait++, {parts[0]} and {parts[1]} channels"
        by_name[name] = small_multimodal("MultiGaitpp", sum(parts), part1_channel=parts[0], part2_channel=parts[1])
    by_name["GaitSSB, pre-training"] = small_gaitssb("Pretrain")
    by_name["GaitSSB, fine-tuning"] = small_gaitssb("Finetune", backbone_lr=[0.001] * 4, projector_lr=0.01)
    return by_name


class Unused(ModuleType):
    """A module whose names can be imported, and not called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> None:
            raise RuntimeError(f"{self.__name__}.{name} is used, which this script replaces by nothing")

        return refuse


def package_of(checkout: Path) -> Path:
    """Return OpenGait's package in a checkout; the script ends if there is none."""
    package = (checkout / "opengait").resolve()
    if not (package / "modeling" / "models").is_dir():
        raise SystemExit(f"{checkout} is no checkout of OpenGait: git clone https://github.com/ShiqiYu/OpenGait")
    return package


def find_opengait(checkout: Path) -> None:
    """Let `modeling.models.X` be imported from a checkout, without the other models and the data loaders."""
    package = package_of(checkout)
    sys.path.insert(0, str(package))
    sys.modules.update({name: Unused(name) for name in UNUSED})
    for name in ("models", "backbones"):  # their __init__.py import everything that is in the folder
        bare = ModuleType(f"modeling.{name}")
        bare.__path__ = [str(package / "modeling" / name)]
        sys.modules[bare.__name__] = bare


def opengait_model(network: Network) -> Any:
    """Build OpenGait's network, without the rest of its constructor: loaders, GPU, processes."""
    name, backbone = network.model_cfg["model"], network.model_cfg.get("backbone_cfg", {}).get("type")
    if backbone is not None:
        module_of_backbone = importlib.import_module(f"modeling.backbones.{BACKBONES[backbone]}")
        setattr(sys.modules["modeling.backbones"], backbone, getattr(module_of_backbone, backbone))
    module: Any = importlib.import_module(f"modeling.models.{FILES.get(name, name.lower())}")
    if hasattr(module, "no_grad"):  # GaitSSB's fails with current PyTorch; and one process gathers its own
        module.no_grad = lambda enable=True: torch.no_grad() if enable else contextlib.nullcontext()
        module.ddp_all_gather = lambda features, **_: features
    kind = getattr(module, name)
    model = kind.__new__(kind)
    nn.Module.__init__(model)
    model.cfgs = {"data_cfg": {"dataset_name": network.dataset}}
    # SwinGait sets learning rates in its forward pass.
    model.iteration, model.T_max_iter, model.optimizer = 0, 1, SimpleNamespace(param_groups=[])
    model.fix_layer = []  # of GaitSSB's optimiser
    model.build_network(copy.deepcopy(network.model_cfg))
    model.init_parameters()
    drops = [module for module in model.modules() if type(module).__name__ == "DropPath"]
    for number, drop in enumerate(drops, 1):  # whose rates it rounds to float32
        drop.drop_prob = 0.1 * number / len(drops)
    return model


def frames_like(n: int, frames: int, channels: int, size: tuple[int, int] = (64, 44)) -> torch.Tensor:
    """Draw a smooth random shape for each channel of a sequence, which changes from frame to frame: 0 or 1.

    (N, S, H, W), or (N, S, C, H, W) of several channels.
    """
    if channels > 1:
        return frames_like(n * channels, frames, 1, size).unflatten(0, (n, channels)).transpose(1, 2).contiguous()
    coarse = torch.rand(n, 1, 9, 7) + 0.5 * torch.rand(n, frames, 9, 7)
    return (F.interpolate(coarse, size, mode="bilinear") > 0.75).float()


def run_opengait(model: Any, batch: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return embeddings and logits of sequences of one length; of GaitSSB in pre-training the logits of both views."""
    if type(model).__name__ == "GaitSSB_Pretrain" and model.training:
        views = [[view] for view in batch.chunk(2)]
        with mock.patch("torch.distributed.get_rank", return_value=0), mock.patch("torch.Tensor.cuda"):
            output = model((views, None, None, None, (None, None)))["training_feat"]
        return None, torch.cat([output[f"softmax{view}"]["logits"] for view in (1, 2)], 2)
    with mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor):  # ScoNet sends its labels to a GPU
        output = model(([batch], torch.zeros(len(batch)), ["neutral"] * len(batch), None, None))
    kind = "training_feat" if model.training else "inference_feat"
    embeddings = output[kind]["triplet"]["embeddings"] if model.training else output[kind]["embeddings"]
    logits = (output["training_feat"] or {}).get("softmax", {}).get("logits")
    if type(model).__name__ == "GLN" and logits is not None:
        logits = logits.transpose(1, 2)  # it gives (N, 1, K), which its cross entropy cannot read
    return embeddings, logits


def run_ours(model: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return embeddings and logits of ours, as `run_opengait`."""
    output = model(batch)
    return output[:2] if output.predictions is None else (None, contrast(output.predictions, output.targets)[0])


def as_results(embeddings: torch.Tensor | None, logits: torch.Tensor | None) -> Results:
    """Return the outputs of a network by name."""
    outputs = {"embeddings": embeddings, "logits": logits}
    return {kind: {"": output.detach()} for kind, output in outputs.items() if output is not None}


class Side:
    """One of the two networks, with OpenGait's names of its tensors."""

    def __init__(self, model: nn.Module, ours: bool) -> None:
        self.model, self.ours = model, ours
        self.names = opengait_names(model) if ours else {name: name for name in model.state_dict()}

    def train(self, batch: torch.Tensor, directions: Sequence[torch.Tensor]) -> Results:
        """Return the results of one step in training mode, which leaves the network unchanged."""
        model = copy.deepcopy(self.model).to(batch.dtype).train()
        torch.manual_seed(0)
        outputs = run_ours(model, batch) if self.ours else run_opengait(model, batch)
        used = [output for output in outputs if output is not None]
        torch.autograd.backward(used, [direction.to(batch.dtype) for direction in directions])
        gradients = {self.names[name]: p.grad for name, p in model.named_parameters() if p.grad is not None}
        statistics = {self.names[name]: buffer for name, buffer in model.named_buffers()}
        results = as_results(*outputs)
        return results | ({"statistics": statistics} if statistics else {}) | {"gradients": gradients}

    def evaluate(self, batch: torch.Tensor, lengths: torch.Tensor) -> Results:
        """Return the outputs for sequences of several lengths: ours in a padded batch, OpenGait's one at a time."""
        model = copy.deepcopy(self.model).to(batch.dtype).eval()
        with torch.inference_mode():
            if self.ours:
                output = model(batch, lengths)
                return as_results(output.inference, output.logits)
            outputs = [run_opengait(model, x[None, :n]) for x, n in zip(batch, lengths.tolist(), strict=True)]
        embeddings, logits = zip(*outputs, strict=True)
        return as_results(torch.cat(embeddings), None if logits[0] is None else torch.cat(logits))


def differences(a: Results, b: Results) -> dict[str, float]:
    """Return the largest difference of each kind; gradients' as a part of the largest of each tensor in `b`."""
    assert a.keys() == b.keys()
    return {kind: _difference(a[kind], tensors, relative=kind == "gradients") for kind, tensors in b.items()}


def _difference(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor], relative: bool) -> float:
    assert a.keys() == b.keys()
    # The gradient of what BatchNorm removes is zero, but for rounding.
    scales = {name: tensor.abs().max().clamp(min=1e-8) if relative else 1 for name, tensor in b.items()}
    return _worst(float((a[name].double() - tensor.double()).abs().max() / scales[name]) for name, tensor in b.items())


def largest_values(results: Results) -> dict[str, float]:
    """Return the largest value of each kind."""
    return {kind: _worst(float(tensor.abs().max()) for tensor in tensors.values()) for kind, tensors in results.items()}


def _worst(values: Iterable[float]) -> float:
    """Return the largest number, NaN where there is one."""
    return float(torch.tensor(list(values), dtype=torch.float64).max())


def make_sides(network: Network, folder: Path) -> tuple[Side, Side]:
    """Build both networks with the same weights, read from a checkpoint of OpenGait's, and typical statistics."""
    opengait = opengait_model(network)
    norms = [m for m in opengait.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the running statistics become those of the first batch
    with torch.no_grad():
        run_opengait(opengait.train(), frames_like(*network.shape, network.channels))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    torch.save({"model": opengait.state_dict()}, folder / "opengait.pt")
    ours = build_model(network.model_cfg, network.dataset)
    assert load_weights(ours, folder / "opengait.pt").opengait
    return Side(ours, ours=True), Side(opengait, ours=False)


def compare(network: Network, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Return, for each mode and kind of result, its largest value and the largest differences.

    `difference` and `float64` are between the sides, in either precision; `ours` and `opengait` are between float32 and
    float64 of a side. They are maxima over the numbers of threads; `difference` is also given for each of them.
    """
    torch.manual_seed(0)
    n, frames = network.shape
    batch = frames_like(n, frames, network.channels)
    lengths = torch.linspace(1, frames, n).round().long()
    sides = make_sides(network, folder)
    outputs = run_opengait(copy.deepcopy(sides[1].model).train(), batch)
    directions = [torch.randn(output.shape) / output.numel() for output in outputs if output is not None]

    def run(threads: int, dtype: torch.dtype) -> list[tuple[Results, ...]]:
        torch.set_num_threads(threads)
        x = batch.to(dtype)
        return [tuple(s.train(x, directions) for s in sides), tuple(s.evaluate(x, lengths) for s in sides)]

    precise = run(max(THREADS), torch.float64)
    rounded = {threads: run(threads, torch.float32) for threads in THREADS}
    return {
        mode: summarise(precise[i], {threads: results[i] for threads, results in rounded.items()})
        for i, mode in enumerate(MODES)
    }


def summarise(precise: tuple[Results, ...], rounded: Mapping[int, tuple[Results, ...]]) -> dict[str, dict[str, float]]:
    """Return `compare`'s figures of a mode: our results and OpenGait's, in float64 and in float32 by threads."""
    between = {threads: differences(*sides) for threads, sides in rounded.items()}
    rounding = [[differences(sides[i], precise[i]) for sides in rounded.values()] for i in range(2)]
    float64 = differences(*precise)
    return {
        kind: {
            "largest": largest,
            **{f"difference_{threads}": d[kind] for threads, d in between.items()},
            "difference": _worst(d[kind] for d in between.values()),
            "ours": _worst(d[kind] for d in rounding[0]),
            "opengait": _worst(d[kind] for d in rounding[1]),
            "float64": float64[kind],
        }
        for kind, largest in largest_values(precise[1]).items()
    }


def beyond(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Return the figures of `compare` that exceed their limit or are NaN, one sentence each."""
    return [
        f"{mode}, {kind}, {name}: {kind_figures[name]:.1e} where {limit:g} is allowed"
        for mode, kinds in figures.items()
        for kind, kind_figures in kinds.items()
        for name, limit in (("difference", LIMITS.get(kind, math.inf)), ("float64", FLOAT64_LIMITS[kind]))
        if not kind_figures[name] <= limit
    ]


def table(rows: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]], mode: str) -> str:
    """Return a mode's Markdown table."""
    kinds = [kind for kind in KINDS if any(kind in row[mode] for row in rows.values())]
    cells = []
    for name, row in rows.items():
        float64 = {kind: kind_figures["float64"] for kind, kind_figures in row[mode].items()}
        gradients = [float64.pop("gradients")] if "gradients" in float64 else []
        exact = [f"{value:.0e}" for value in (_worst(float64.values()), *gradients)]
        cells.append([name, *(_cell(row[mode].get(kind)) for kind in kinds), *exact])
    head = ("network", *kinds, "float64", "gradients, float64")[: len(cells[0])]
    return markdown_table(cells, head)


def _cell(kind_figures: Mapping[str, float] | None) -> str:
    if kind_figures is None:
        return ""
    return f"{kind_figures['difference']:.1e} ({kind_figures['ours']:.1e}, {kind_figures['opengait']:.1e})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the networks."""
    parser = argparse.ArgumentParser(description="Our networks beside OpenGait's own modules, with the same weights.")
    parser.add_argument("checkout", type=Path, help="a checkout of OpenGait")
    parser.add_argument("--only", nargs="+", choices=list(networks()), metavar="NAME", help="these rows of the tables")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    find_opengait(options.checkout)
    rows = {}
    for name, network in networks().items():
        if options.only is None or name in options.only:
            with tempfile.TemporaryDirectory() as folder:
                rows[name] = compare(network, Path(folder))
            print(name, file=sys.stderr, flush=True)
    for mode in MODES:
        print(f"In {mode} mode:\n\n{table(rows, mode)}")
    write_figures(options.json, {"networks": rows}, capability=torch.backends.cpu.get_cpu_capability())
    faults = [f"{name}: {fault}" for name, figures in rows.items() for fault in beyond(figures)]
    print("\n".join(faults) or f"{len(rows)} networks within the limits")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
