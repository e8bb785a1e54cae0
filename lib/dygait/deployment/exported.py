"""Exported models in use: files that `dygait export` wrote, run by onnxruntime or by PyTorch."""

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

INFO = "dygait"  # the key of a file's metadata under which JSON says what its weights are
ONNX, PROGRAM = ".onnx", ".pt2"
_FRAMES = {ONNX: (4, 1), PROGRAM: (6, 3)}
"""The fewest frames of a batch, and what their number is a multiple of; padding makes them so.

DyGait and GaitGL merge three frames into one, and SwinGait's windows have three: torch.export treats a single one of
these, and a rest, as another graph. SwinGait's ONNX needs the same, since its graph counts windows.
"""

_Runtime = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From silhouettes and lengths to features."""


class ExportedModel:
    """A network that was exported, which knows how its input is prepared: for `dygait.embed`, as a pretrained model.

    Attributes:
        info: what its weights are; as of the weights that were exported, but for an int8 file's identity.
        transform: of normalised silhouettes, or frames of several channels, as in the loader.
    """

    def __init__(self, run: _Runtime, info: WeightsInfo, frames: tuple[int, int]) -> None:
        self._run = run
        self._fewest, self._multiple = frames
        self.info = info
        self.transform: Transform = build_transform(info.transform)

    def features(self, silhouettes: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Return what is compared, (N, C, P), for frames and lengths as of `dygait.build_model`, on the CPU."""
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
        UserError: there is no such file, it is of another form or origin, or the package that runs it is missing.
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
    """Return a package of the extra `export`; UserError if it is not installed."""
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
    except Exception as error:  # whatever a damaged archive raises
        raise UserError(f"{path} is no program of torch.export: {str(error).splitlines()[0][:200]}") from None
    module = program.module()

    def run(silhouettes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return module(silhouettes, lengths)

    return run, files[INFO]
