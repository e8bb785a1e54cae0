"""Files of 2-D key points: arrays (.pkl, .npy), or the JSON of pose estimators."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dygait import untrusted
from dygait.data.stores.unpickling import load_arrays
from dygait.errors import UserError
from dygait.preprocess.rules import natural_key

SUFFIXES = (".pkl", ".npy", ".json")
_MAX_BYTES = 2**28
_NUMBERS = 51  # of 17 key points


def read_poses(path: Path) -> np.ndarray:
    """Read the key points of one sequence, floating point (S, V, 2) or (S, V, 3).

    The file holds such an array, also as nested lists; rows of at least 51 numbers, of which the last 51 are 17 key
    points (GREW's); or results in COCO's format, objects with `image_id`, `keypoints` and `score`, of which the person
    with the highest score in each image is used, in the order of the images.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = untrusted.read_bytes(path, _MAX_BYTES)
        if path.suffix == ".pkl":
            array = load_arrays(content)
        elif path.suffix == ".npy":
            array = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            parsed = untrusted.parse_json(content)
            are_results = all(isinstance(result, Mapping) for result in parsed)
            array = np.array(_best_key_points(parsed) if are_results else parsed)
        poses = array if array.dtype == np.float32 else array.astype(np.float64)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path} holds no key points: {str(error)[:200]!a}") from None
    if poses.ndim == 2 and poses.shape[1] >= _NUMBERS:
        poses = poses[:, -_NUMBERS:].reshape(-1, 17, 3)
    return poses


def _best_key_points(results: Sequence[Mapping[str, Any]]) -> list[Any]:
    best: dict[Any, Mapping[str, Any]] = {}
    for result in results:
        image = result["image_id"]
        if image not in best or result.get("score", 0) > best[image].get("score", 0):
            best[image] = result
    return [best[image]["keypoints"] for image in sorted(best, key=lambda image: natural_key(str(image)))]
