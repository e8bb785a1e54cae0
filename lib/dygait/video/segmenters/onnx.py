"""People as any network in an ONNX file finds them, described by a few keys.

Three kinds of output are read. `map`: a probability or a class for every pixel, as networks of semantic segmentation
and of portrait matting give it. `instances`: boxes, labels, scores and masks, as Mask R-CNN gives them. `yolo`: boxes
with coefficients of prototype masks, as YOLO's segmentation networks give them (Bolya et al., *YOLACT*, ICCV 2019).
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
"""From the input, float32 (1, 3, h, w), to the outputs."""

_LEAST_SHARE = 0.001  # of the picture; a smaller part of a map is noise
_NMS = 0.6  # two boxes that share more show the same person
_BOX = 4  # numbers of a box in the rows of `yolo`


class _Fit(NamedTuple):
    """How a picture was put into the network's input."""

    size: tuple[int, int]  # rows and columns of the picture
    scale: tuple[float, float]  # pixels of the input per pixel of the picture, down and across


@SEGMENTERS.register("onnx")
class OnnxSegmenter(Segmenter):
    """A network in an ONNX file, run by onnxruntime, or by OpenCV where that is not installed.

    Args:
        model: the file.
        kind: what it puts out: map, instances or yolo.
        size: rows and columns of its input; None: as the file says.
        letterbox: keep the proportions of the picture, with grey below or beside it; otherwise it is stretched.
        channels: the order of the input's channels.
        scale: grey levels are divided by this first,
        mean: then this is subtracted, of the channels in their order,
        std: then they are divided by this.
        outputs: names of the outputs: of map one; of instances boxes, labels, scores and masks; of yolo boxes and
            prototypes. None: the file's own, in this order.
        person: the number of the class of people; in a map of one channel it has no meaning.
        activation: what makes a probability of a map's values.
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
        wanted = {"map": 1, "instances": 4, "yolo": 2}[kind]
        if outputs is not None and len(outputs) != wanted:
            raise ValueError(f"outputs: {kind} has {wanted}, got {len(outputs)}")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size: give rows and columns, got {size}")
        if len(mean) != 3 or len(std) != 3 or not all(std) or not scale:
            raise ValueError("mean: mean and std take three numbers, and std and scale none that is 0")
        self._run, own_size = _load(Path(model), outputs)
        if size is None and own_size is None:
            raise ValueError("size: the file leaves the size of its input open; give rows and columns")
        self._size: Sequence[int] = size or own_size or ()
        self._letterbox = letterbox
        self._swap = channels == "rgb"
        self._scale = scale
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        self._read = {"map": self._read_map, "instances": self._read_instances, "yolo": self._read_yolo}[kind]
        self._model = model
        self._wanted = wanted
        self._person = person
        self._activation = activation
        self._threshold = threshold

    def segment(self, picture: np.ndarray) -> list[Person]:
        """Return the people in a picture."""
        given, fit = self._prepare(picture)
        outputs = self._run(given)
        if len(outputs) < self._wanted:
            raise UserError(f"{self._model} has {len(outputs)} outputs; this kind needs {self._wanted}: see `kind`")
        return self._read(outputs, fit)

    def _prepare(self, picture: np.ndarray) -> tuple[np.ndarray, _Fit]:
        """Return the network's input, float32 (1, 3, h, w), and how the picture lies in it."""
        rows, columns = self._size
        height, width = picture.shape[:2]
        down, across = rows / height, columns / width
        if self._letterbox:
            down = across = min(down, across)
        resized = cv2.resize(picture, (round(width * across), round(height * down)), interpolation=cv2.INTER_LINEAR)
        given = np.full((rows, columns, 3), 114, np.uint8)
        given[: resized.shape[0], : resized.shape[1]] = resized[:rows, :columns]
        if self._swap:
            given = given[:, :, ::-1]
        values = (given.astype(np.float32) / self._scale - self._mean) / self._std
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
        is_whole = masks.shape[1:] == tuple(self._size)
        whole = (masks[n] if is_whole else self._pasted(masks[n], boxes[n]) for n in people)
        return people_in_masks((self._to_picture(mask, fit) for mask in whole), scores[people])

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

    def _pasted(self, mask: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Return the mask of a box in the size of the input."""
        left, top, right, bottom = np.clip(np.rint(box), 0, (*self._size[::-1], *self._size[::-1])).astype(int)
        whole = np.zeros(tuple(self._size), np.float32)
        if right > left and bottom > top:
            whole[top:bottom, left:right] = cv2.resize(mask.astype(np.float32), (right - left, bottom - top))
        return whole

    def _to_picture(self, probability: np.ndarray, fit: _Fit) -> np.ndarray:
        """Return a mask of the picture's size, uint8, 0 or 255, of probabilities in the size of the input or less."""
        down, across = len(probability) / self._size[0], probability.shape[1] / self._size[1]
        rows = max(1, round(fit.size[0] * fit.scale[0] * down))
        columns = max(1, round(fit.size[1] * fit.scale[1] * across))
        filled = probability[:rows, :columns].astype(np.float32)
        resized = cv2.resize(filled, fit.size[::-1], interpolation=cv2.INTER_LINEAR)
        return np.where(resized >= self._threshold, 255, 0).astype(np.uint8)


def _load(path: Path, outputs: list[str] | None) -> tuple[Run, Sequence[int] | None]:
    """Return a network as a function, and rows and columns of its input if the file says them."""
    if not path.is_file():
        raise UserError(f"model: {path}: no such file; give the path of an ONNX file")
    try:
        import onnxruntime
    except ImportError:
        return _load_in_opencv(path, outputs), None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised below
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # its errors have no common class
        raise UserError(f"model: {path} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    given = session.get_inputs()[0]
    names = [output.name for output in session.get_outputs()]
    unknown = sorted({*(outputs or [])} - {*names})
    if unknown:
        raise UserError(f"outputs: {path} has no output {unknown[0]!r}; it has {', '.join(names)}")
    size: list[Any] = list(given.shape[2:]) if len(given.shape) == 4 else []
    fixed = size if len(size) == 2 and all(isinstance(side, int) for side in size) else None
    return lambda values: session.run(outputs, {given.name: values}), fixed


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
