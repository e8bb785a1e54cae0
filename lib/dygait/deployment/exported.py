"""Exported models: files of `dygait export`, run by onnxruntime or PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dygait.data.transforms import Transform, build_transform
from dygait.deployment.pretrained import WeightsInfo
from dygait.errors import UserError
from dygait.modeling.layers import valid_frames

INFO = "dygait"  # the key of a file's metadata that holds `WeightsInfo` as JSON
ONNX, PROGRAM = ".onnx", ".pt2"
_FRAMES = {ONNX: (4, 1), PROGRAM: (6, 3)}
"""The least number of frames of a batch, and its divisor; batches are padded to them.

DyGait and GaitGL merge three frames into one, and SwinGait's windows have three frames: torch.export would need another
graph for a single group of three, and for a remainder. SwinGait's ONNX graph depends on the number of windows, too.
"""

_Runtime = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Runs an exported network: from silhouettes and lengths to features."""


class ExportedModel:
    """An exported network with the transform of its input, for `dygait.embed`.

    Attributes:
        info: description of the weights that were exported; an int8 file has an identity of its own.
        transform: transform of normalised silhouettes, or of frames of several channels.
    """

    def __init__(self, run: _Runtime, info: WeightsInfo, frames: tuple[int, int]) -> None:
        self._run = run
        self._fewest, self._multiple = frames
        self.info = info
        self.transform: Transform = build_transform(info.transform)

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return features (N, C, P), on the CPU, for frames and lengths as in `dygait.build_model`."""
        n, frames = silhouettes.shape[:2]
        lengths = torch.full((n,), frames) if lengths is None else lengths.cpu().long()
        missing = max(self._fewest - frames, -frames % self._multiple)
        padded = F.pad(silhouettes.cpu().float().flatten(2), (0, 0, 0, missing))
        valid = valid_frames(lengths, padded.shape[1])
        return self._run((padded * valid[:, :, None]).unflatten(2, silhouettes.shape[2:]), lengths)

    __call__ = features


def load_exported(path: str | Path) -> ExportedModel:
    """Load a file that `dygait export` wrote.

    Raises:
        UserError: the file does not exist, has another format, or the package that runs it is not installed.
    """
    path = Path(path)
    if path.suffix not in (ONNX, PROGRAM):
        raise UserError(f"{path} is no exported model: those are called *{ONNX} or *{PROGRAM}")
    if not path.is_file():
        raise UserError(f"no such exported model: {path}")
    run, text = _open_onnx(path) if path.suffix == ONNX else _open_program(path)
    try:
        info = WeightsInfo(**json.loads(text))
    except (TypeError, ValueError):
        raise UserError(f"{path} was not written by `dygait export`: it does not say what its weights are") from None
    return ExportedModel(run, info, _FRAMES[PROGRAM if info.model_cfg["model"] == "SwinGait" else path.suffix])


def needed(package: str) -> Any:
    """Import a package of the extra `export`; UserError if it is not installed."""
    try:
        return import_module(package)
    except ImportError:
        raise UserError(f"{package} is not installed: pip install 'dygait[export]'") from None


def _open_onnx(path: Path) -> tuple[_Runtime, str]:
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which differ between its releases
        raise UserError(f"{path} is no ONNX file that onnxruntime can run: {str(error).splitlines()[0]}") from None

    def run(silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        (features,) = session.run(None, {"silhouettes": silhouettes.numpy(), "lengths": lengths.numpy()})
        return torch.from_numpy(np.asarray(features))

    return run, session.get_modelmeta().custom_metadata_map.get(INFO, "")


def _open_program(path: Path) -> tuple[_Runtime, str]:
    files = {INFO: ""}
    try:
        program = torch.export.load(path, extra_files=files)
    except Exception as error:  # a damaged archive can raise anything
        raise UserError(f"{path} is no program of torch.export: {str(error).splitlines()[0][:200]}") from None
    module = program.module()

    def run(silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return module(silhouettes, lengths)

    return run, files[INFO]
