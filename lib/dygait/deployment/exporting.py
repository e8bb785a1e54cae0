"""Networks out of PyTorch: as ONNX or as a `torch.export` program, checked before the file is kept.

The graph takes silhouettes (N, S, H, W) or frames (N, S, C, H, W), float32 in 0..1 and zero in padding, and lengths
(N,), int64, and gives features (N, C, P). N and S are free: of ONNX, S from 4 on; of a program, and of SwinGait,
multiples of 3 from 6.
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
"""The name of each form, and the suffix of its files."""
TOLERANCE = 1e-4
_LENGTHS: Sequence[Sequence[int]] = ((3,), (30,), (200,), (4, 64), (31, 3, 30), (3, 4, 5, 6, 7, 9, 12, 17))
"""Of the batches on which a file is compared with PyTorch."""
_ONNX_SINCE = (2, 6)
_MOST = 2**20  # frames of a sequence: ten hours; PyTorch 2.4 needs a bound


class _Features(nn.Module):
    """What is compared at test time, in the form that can be exported."""

    def __init__(self, model: PretrainedModel) -> None:
        super().__init__()
        self.network, self.feature = model.network, model.info.feature

    def forward(self, silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with export_mode():
            features: torch.Tensor = getattr(self.network(silhouettes, lengths), self.feature)
        return features


def export(model: PretrainedModel, target: Path, form: str, int8: bool = False) -> float:
    """Write a model in another form, atomically, once it gives the same features.

    Args:
        model: of `load_pretrained`, on the CPU.
        form: one of `FORMATS`.
        int8: quantise the weights, and each layer's input while it is computed: ONNX only. The file is compared before.

    Returns:
        The largest difference of a feature over the largest feature: of the int8 file, where it is one.

    Raises:
        UserError: the target has another suffix or cannot be written, a package is missing, or the features differ.
    """
    _check(target, form, int8)
    program = _program(model)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"made{target.suffix}"
        _write(program, model, form, made)
        difference = largest_difference(model, load_exported(made))
        if not difference <= TOLERANCE:
            raise UserError(
                f"{target} is not written: its features differ from PyTorch's by {difference:.1e} of the largest; "
                f"{TOLERANCE:g} is allowed"
            )
        if int8:
            made = quantise(made, Path(folder) / f"int8{target.suffix}")
            difference = largest_difference(model, load_exported(made))
        with write_errors(target), replacing(target) as file:
            file.write(made.read_bytes())
    return difference


def writes_onnx() -> bool:
    """Return whether this PyTorch is new enough to write ONNX."""
    return tuple(int(number) for number in torch.__version__.split(".")[:2]) >= _ONNX_SINCE


def _check(target: Path, form: str, int8: bool) -> None:
    """Raise UserError, before anything is computed, where a file cannot be written."""
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
    """Return (H, W), or (C, H, W), of the frames that the network takes."""
    channels = getattr(model.network, "in_channels", 1)
    size = model.info.input_size or model.transform(np.zeros((1, 64, 64), np.uint8), np.random.default_rng(0)).shape[1:]
    return (channels, *size) if channels > 1 else tuple(size)


def largest_difference(model: PretrainedModel, exported: ExportedModel) -> float:
    """Return the largest difference of a feature from PyTorch's, over the largest feature of its batch."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for lengths in _LENGTHS:
        batch = _batch(lengths, input_size(model), generator)
        with torch.no_grad():
            wanted = model.features(*batch)
            found.append(float((exported.features(*batch) - wanted).abs().max() / wanted.abs().max()))
    return max(found) if not any(map(np.isnan, found)) else float("nan")


def _batch(
    lengths: Sequence[int], size: tuple[int, ...], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random silhouettes, zero in padding, and their lengths."""
    silhouettes = (torch.rand(len(lengths), max(lengths), *size, generator=generator) > 0.5).float()
    for row, length in zip(silhouettes, lengths, strict=True):
        row[length:] = 0
    return silhouettes, torch.tensor(lengths)


def _program(model: PretrainedModel) -> torch.export.ExportedProgram:
    """Record the network's operations for any number of sequences and frames."""
    network = _Features(model).eval().requires_grad_(False)
    sequences, thirds = torch.export.Dim("sequences", min=1), torch.export.Dim("thirds", min=2, max=_MOST // 3)
    example = _batch((18, 24, 7), input_size(model), torch.Generator().manual_seed(0))
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
    made = torch.onnx.export(
        program, (), dynamo=True, input_names=["silhouettes", "lengths"], output_names=["features"], verbose=False
    )
    assert made is not None
    made.save(str(path))
    _describe(path, info)


def _describe(path: Path, info: str) -> None:
    """Write into an ONNX file what its weights are, and name its free sizes."""
    onnx = needed("onnx")
    model = onnx.load(str(path))
    del model.graph.value_info[:]  # they name sizes otherwise
    for value in (*model.graph.input, *model.graph.output):
        names = ("sequences", "frames") if value.name == "silhouettes" else ("sequences",)
        for size, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            size.dim_param = name
    onnx.helper.set_model_props(model, {INFO: info})
    onnx.save(model, str(path))


def quantise(source: Path, target: Path) -> Path:
    """Write an ONNX file with int8 weights, whose layers quantise their input; its features are of another identity."""
    quantisation = needed("onnxruntime.quantization")
    quantisation.quantize_dynamic(str(source), str(target), weight_type=quantisation.QuantType.QInt8)
    info = dataclasses.asdict(load_exported(source).info)
    info["identity"] = hashlib.sha256(f"{info['identity']} int8".encode()).hexdigest()
    _describe(target, json.dumps(info))
    return target
