"""Export of networks as ONNX or as a `torch.export` program, compared with PyTorch before the file is written.

The graph takes silhouettes (N, S, H, W) or frames (N, S, C, H, W), float32 in 0..1 and zero in padding, and lengths
(N,), int64, and returns features (N, C, P). N and S are dynamic. For ONNX, S is at least 4; for a program, and for
SwinGait, S is at least 6 and a multiple of 3.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dygait.deployment.exported import INFO, ONNX, PROGRAM, ExportedModel, load_exported, needed
from dygait.deployment.pretrained import PretrainedModel
from dygait.errors import UserError
from dygait.files import replacing, write_errors
from dygait.modeling.export_mode import export_mode

FORMATS = {"onnx": ONNX, "exported": PROGRAM}
"""The suffix of each format's files."""
TOLERANCE = 1e-4
_LENGTHS: Sequence[Sequence[int]] = ((3,), (30,), (200,), (4, 64), (31, 3, 30), (3, 4, 5, 6, 7, 9, 12, 17))
"""Lengths of the sequences in the batches on which a file is compared with PyTorch."""
_ONNX_SINCE = (2, 6)
_MOST = 2**20  # the most frames of a sequence, ten hours; PyTorch 2.4 needs a bound


class _Features(nn.Module):
    """The features of a model, computed by operations that can be exported."""

    def __init__(self, model: PretrainedModel) -> None:
        super().__init__()
        self.network, self.feature = model.network, model.info.feature

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with export_mode():
            features: torch.Tensor = getattr(self.network(silhouettes, lengths), self.feature)
        return features


def export(model: PretrainedModel, target: Path, form: str, int8: bool = False) -> float:
    """Export a model, and write the file atomically if its features equal PyTorch's.

    Args:
        model: a model of `load_pretrained`, on the CPU.
        form: the format, one of `FORMATS`.
        int8: quantise the weights to int8, and the layers' inputs dynamically; ONNX only. The features are compared
            before quantisation.

    Returns:
        The largest difference of a feature, divided by the largest feature; with `int8`, of the quantised file.

    Raises:
        UserError: the target has another suffix or cannot be written, a package is missing, or the features differ.
    """
    _check(target, form, int8)
    program = _trace(model)
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / f"exported{target.suffix}"
        _write(program, model, form, exported)
        difference = largest_difference(model, load_exported(exported))
        if not difference <= TOLERANCE:
            raise UserError(
                f"{target} is not written: its features differ from PyTorch's by {difference:.1e} of the largest; "
                f"{TOLERANCE:g} is allowed"
            )
        if int8:
            exported = quantise(exported, Path(folder) / f"int8{target.suffix}")
            difference = largest_difference(model, load_exported(exported))
        with write_errors(target), replacing(target) as file:
            file.write(exported.read_bytes())
    return difference


def writes_onnx() -> bool:
    """Return whether this version of PyTorch can export ONNX."""
    return tuple(int(number) for number in torch.__version__.split(".")[:2]) >= _ONNX_SINCE


def _check(target: Path, form: str, int8: bool) -> None:
    """Raise UserError if the file cannot be written, before anything is computed."""
    if target.suffix != FORMATS[form]:
        raise UserError(f"{target}: a file of --to {form} is called *{FORMATS[form]}")
    if int8 and form != "onnx":
        raise UserError("--int8 is for --to onnx: the quantisation is onnxruntime's")
    if not target.parent.is_dir():
        raise UserError(f"{target} cannot be written: there is no folder {target.parent}; make it, or name another")
    if form == "onnx":
        if not writes_onnx():
            since = ".".join(map(str, _ONNX_SINCE))
            raise UserError(f"--to onnx needs PyTorch {since} or later, this is {torch.__version__}")
        for package in ("onnx", "onnxscript", "onnxruntime"):
            needed(package)


def input_size(model: PretrainedModel) -> tuple[int, ...]:
    """Return the size (H, W), or (C, H, W), of the network's frames."""
    channels = getattr(model.network, "in_channels", 1)
    size = model.info.input_size or model.transform(np.zeros((1, 64, 64), np.uint8), np.random.default_rng(0)).shape[1:]
    return (channels, *size) if channels > 1 else tuple(size)


def largest_difference(model: PretrainedModel, exported: ExportedModel) -> float:
    """Return the largest difference of a feature from PyTorch's, divided by the largest feature of its batch."""
    generator = torch.Generator().manual_seed(0)
    differences = []
    for lengths in _LENGTHS:
        batch = _random_batch(lengths, input_size(model), generator)
        with torch.no_grad():
            expected = model.features(*batch)
            differences.append(float((exported.features(*batch) - expected).abs().max() / expected.abs().max()))
    return max(differences) if not any(map(np.isnan, differences)) else float("nan")


def _random_batch(
    lengths: Sequence[int], size: tuple[int, ...], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random silhouettes, zero in padding, and their lengths."""
    silhouettes = (torch.rand(len(lengths), max(lengths), *size, generator=generator) > 0.5).float()
    for row, length in zip(silhouettes, lengths, strict=True):
        row[length:] = 0
    return silhouettes, torch.tensor(lengths)


def _trace(model: PretrainedModel) -> torch.export.ExportedProgram:
    """Trace the network with dynamic numbers of sequences and frames."""
    network = _Features(model).eval().requires_grad_(False)
    sequences, thirds = torch.export.Dim("sequences", min=1), torch.export.Dim("thirds", min=2, max=_MOST // 3)
    example = _random_batch((18, 24, 7), input_size(model), torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.export.export(
            network,
            example,
            dynamic_shapes={"silhouettes": {0: sequences, 1: 3 * thirds}, "lengths": {0: sequences}},
            strict=False,
        )


def _write(program: torch.export.ExportedProgram, model: PretrainedModel, form: str, path: Path) -> None:
    info = json.dumps(dataclasses.asdict(model.info))
    if form == "exported":
        torch.export.save(program, path, extra_files={INFO: info})
        return
    exported = torch.onnx.export(
        program, (), dynamo=True, input_names=["silhouettes", "lengths"], output_names=["features"], verbose=False
    )
    assert exported is not None
    exported.save(str(path))
    _write_metadata(path, info)


def _write_metadata(path: Path, info: str) -> None:
    """Write `WeightsInfo` into the metadata of an ONNX file, and name its dynamic sizes."""
    onnx = needed("onnx")
    model = onnx.load(str(path))
    del model.graph.value_info[:]  # it has other names of the sizes
    for value in (*model.graph.input, *model.graph.output):
        names = ("sequences", "frames") if value.name == "silhouettes" else ("sequences",)
        for size, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            size.dim_param = name
    onnx.helper.set_model_props(model, {INFO: info})
    onnx.save(model, str(path))


def quantise(source: Path, target: Path) -> Path:
    """Quantise an ONNX file dynamically to int8; its features get another identity."""
    runtime, quantisation = needed("onnxruntime"), needed("onnxruntime.quantization")
    # Weights that are computed, such as those of two fused convolutions, must be constants.
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    quantisation.quantize_dynamic(str(target), str(target), weight_type=quantisation.QuantType.QInt8)
    info = dataclasses.asdict(load_exported(source).info)
    info["identity"] = hashlib.sha256(f"{info['identity']} int8".encode()).hexdigest()
    _write_metadata(target, json.dumps(info))
    return target
