"""Segmentation by any network in an ONNX file, described by a few keys.

Three kinds of output are supported. `map`: a probability or a class for every pixel, as in semantic segmentation and
portrait matting. `instances`: boxes, labels, scores and masks, as in Mask R-CNN. `yolo`: boxes with coefficients of
prototype masks, as in YOLO's segmentation networks (Bolya et al., *YOLACT*, ICCV 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from scipy.special import expit, softmax

from dygait.errors import UserError
from dygait.video.segmenters.base import SEGMENTERS, Person, Segmenter, people_in_mask, people_in_masks

Run = Callable[[np.ndarray], list[np.ndarray]]
"""Runs the network: from the input, float32 (1, 3, h, w), to the outputs."""

_LEAST_SHARE = 0.001  # share of the picture below which a component of a map is noise
_NMS = 0.6  # IoU above which two boxes show the same person
_BOX = 4  # numbers of a box in the rows of `yolo`


class _Fit(NamedTuple):
    """How a picture was resized to the network's input."""

    size: tuple[int, int]  # rows and columns of the picture
    scale: tuple[float, float]  # pixels of the input per pixel of the picture, down and across


@SEGMENTERS.register("onnx")
class OnnxSegmenter(Segmenter):
    """A network in an ONNX file, run by onnxruntime, or by OpenCV where that is not installed.

    Args:
        model: the file.
        kind: kind of output: map, instances or yolo.
        size: rows and columns of the input; None: from the file.
        letterbox: keep the proportions of the picture, with grey below or beside it; otherwise it is stretched.
        channels: the order of the input's channels.
        scale: divisor of the grey levels, before normalisation.
        mean: mean of each channel, subtracted after scaling.
        std: standard deviation of each channel, a divisor after that.
        outputs: names of the outputs: for map one; for instances boxes, labels, scores and masks; for yolo boxes and
            prototypes. None: those of the file, in this order.
        person: index of the class of people; ignored for a map of one channel.
        activation: function from a map's values to probabilities.
        threshold: the least probability of a pixel, and the least score of a person.
    """

    def __init__(
        self,
        model: str,
        kind: Literal["map", "instances", "yolo"] = "map",
        size: list[int] | None = None,
        letterbox: bool = False,
        channels: Literal["rgb", "bgr"] = "rgb",
        scale: float = 255.0,
        mean: list[float] = [0.0, 0.0, 0.0],  # noqa: B006 - not changed
        std: list[float] = [1.0, 1.0, 1.0],  # noqa: B006
        outputs: list[str] | None = None,
        person: int = 0,
        activation: Literal["none", "sigmoid", "softmax"] = "none",
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        n_outputs = {"map": 1, "instances": 4, "yolo": 2}[kind]
        if outputs is not None and len(outputs) != n_outputs:
            raise ValueError(f"outputs: {kind} has {n_outputs}, got {len(outputs)}")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size: give rows and columns, got {size}")
        if len(mean) != 3 or len(std) != 3 or not all(std) or not scale:
            raise ValueError("mean: mean and std take three numbers, and std and scale none that is 0")
        self._run, file_size = _load(Path(model), outputs)
        if size is None and file_size is None:
            raise ValueError("size: the file leaves the size of its input open; give rows and columns")
        self._size: Sequence[int] = size or file_size or ()
        self._letterbox = letterbox
        self._swap = channels == "rgb"
        self._scale = scale
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self._read = {"map": self._read_map, "instances": self._read_instances, "yolo": self._read_yolo}[kind]
        self._model = model
        self._n_outputs = n_outputs
        self._person = person
        self._activation = activation
        self._threshold = threshold

    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a picture."""
        inputs, fit = self._prepare(picture)
        outputs = self._run(inputs)
        if len(outputs) < self._n_outputs:
            raise UserError(f"{self._model} has {len(outputs)} outputs; this kind needs {self._n_outputs}: see `kind`")
        return self._read(outputs, fit)

    def _prepare(self, picture: np.ndarray) -> tuple[np.ndarray, _Fit]:
        """Return the network's input, float32 (1, 3, h, w), and how the picture was resized to it."""
        rows, columns = self._size
        height, width = picture.shape[:2]
        down, across = rows / height, columns / width
        if self._letterbox:
            down = across = min(down, across)
        resized = cv2.resize(picture, (round(width * across), round(height * down)), interpolation=cv2.INTER_LINEAR)
        padded = np.full((rows, columns, 3), 114, np.uint8)
        padded[: resized.shape[0], : resized.shape[1]] = resized[:rows, :columns]
        if self._swap:
            padded = padded[:, :, ::-1]
        values = (padded.astype(np.float32) / self._scale - self._mean) / self._std
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None]), _Fit((height, width), (down, across))

    def _read_map(self, outputs: list[np.ndarray], fit: _Fit) -> list[Person]:
        values = outputs[0]
        values = values[0] if values.ndim == 4 or (values.ndim == 3 and len(values) == 1) else values
        if values.ndim == 3 and len(values) > 1:
            if not 0 <= self._person < len(values):
                raise UserError(f"{self._model}: person={self._person}, but its map has {len(values)} classes")
            if self._activation == "none":
                probability = (values.argmax(0) == self._person).astype(np.float32)
            else:
                probability = self._activate(values)[self._person]
        else:
            flat = values.reshape(values.shape[-2:])
            is_class = np.issubdtype(flat.dtype, np.integer)
            probability = (flat == self._person).astype(np.float32) if is_class else self._activate(flat)
        mask = self._to_picture(probability, fit)
        return people_in_mask(mask, max(1, round(_LEAST_SHARE * mask.size)))

    def _read_instances(self, outputs: list[np.ndarray], fit: _Fit) -> list[Person]:
        boxes, labels, scores, masks = (output.squeeze() if output.ndim > 2 else output for output in outputs[:4])
        boxes = boxes.reshape(-1, 4)
        masks = masks.reshape(len(boxes), *masks.shape[-2:])
        scores = scores.reshape(-1)
        people = np.flatnonzero((labels.reshape(-1).astype(int) == self._person) & (scores >= self._threshold))
        has_input_size = masks.shape[1:] == tuple(self._size)
        full_masks = (masks[n] if has_input_size else self._paste_mask(masks[n], boxes[n]) for n in people)
        return people_in_masks((self._to_picture(mask, fit) for mask in full_masks), scores[people])

    def _read_yolo(self, outputs: list[np.ndarray], fit: _Fit) -> list[Person]:
        rows, prototypes = outputs[0][0].T, outputs[1][0]  # (n, 4 + classes + M), (M, h, w)
        classes = rows.shape[1] - _BOX - len(prototypes)
        if not 0 <= self._person < classes:
            raise UserError(f"{self._model}: person={self._person}, but it has {classes} classes")
        scores = rows[:, _BOX + self._person]
        is_person = (scores >= self._threshold) & (scores >= rows[:, _BOX : _BOX + classes].max(1))
        rows, scores = rows[is_person], scores[is_person]
        boxes = np.hstack([rows[:, :2] - rows[:, 2:4] / 2, rows[:, 2:4]])
        people = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self._threshold, _NMS), int).reshape(-1)
        masks = []
        for box, coefficients in zip(boxes[people], rows[people, _BOX + classes :], strict=True):
            mask = expit(np.tensordot(coefficients, prototypes, 1))
            mask = cv2.resize(mask, (self._size[1], self._size[0]), interpolation=cv2.INTER_LINEAR)
            left, top, width, height = (max(0, round(float(value))) for value in box)
            inside = np.zeros_like(mask)
            inside[top : top + height, left : left + width] = mask[top : top + height, left : left + width]
            masks.append(self._to_picture(inside, fit))
        return people_in_masks(masks, scores[people])

    def _activate(self, values: np.ndarray) -> np.ndarray:
        if self._activation == "sigmoid":
            return expit(values)
        return softmax(values, axis=0) if self._activation == "softmax" else values

    def _paste_mask(self, mask: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Return the mask of a box, resized and pasted into a mask of the input's size."""
        left, top, right, bottom = np.clip(np.rint(box), 0, (*self._size[::-1], *self._size[::-1])).astype(int)
        full_mask = np.zeros(tuple(self._size), np.float32)
        if right > left and bottom > top:
            full_mask[top:bottom, left:right] = cv2.resize(mask.astype(np.float32), (right - left, bottom - top))
        return full_mask

    def _to_picture(self, probability: np.ndarray, fit: _Fit) -> np.ndarray:
        """Resize probabilities of the input's size or less to a mask of the picture's size, uint8, 0 or 255."""
        down, across = len(probability) / self._size[0], probability.shape[1] / self._size[1]
        rows = max(1, round(fit.size[0] * fit.scale[0] * down))
        columns = max(1, round(fit.size[1] * fit.scale[1] * across))
        without_padding = probability[:rows, :columns].astype(np.float32)
        resized = cv2.resize(without_padding, fit.size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.where(resized >= self._threshold, 255, 0).astype(np.uint8)


def _load(path: Path, outputs: list[str] | None) -> tuple[Run, Sequence[int] | None]:
    """Load a network as a function, and the rows and columns of its input if the file fixes them."""
    if not path.is_file():
        raise UserError(f"model: {path}: no such file; give the path of an ONNX file")
    try:
        import onnxruntime
    except ImportError:
        return _load_in_opencv(path, outputs), None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # no log lines: errors are raised below
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # its errors have no common class
        raise UserError(f"model: {path} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    network_input = session.get_inputs()[0]
    names = [output.name for output in session.get_outputs()]
    unknown = sorted({*(outputs or [])} - {*names})
    if unknown:
        raise UserError(f"outputs: {path} has no output {unknown[0]!r}; it has {', '.join(names)}")
    shape: list[Any] = list(network_input.shape[2:]) if len(network_input.shape) == 4 else []
    size = shape if len(shape) == 2 and all(isinstance(side, int) for side in shape) else None
    return lambda values: session.run(outputs, {network_input.name: values}), size


def _load_in_opencv(path: Path, outputs: list[str] | None) -> Run:
    try:
        network = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model: OpenCV cannot load {path} ({reason}): pip install onnxruntime") from None
    names = outputs or list(network.getUnconnectedOutLayersNames())

    def run(values: np.ndarray) -> list[np.ndarray]:
        network.setInput(values)
        return list(network.forward(names))

    return run
