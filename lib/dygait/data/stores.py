"""Reading silhouettes from disk.

A pickle is a program. `read_pickle` runs only the few instructions that rebuild a NumPy array or a list of them;
anything else in the file is refused by name, before it can run.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dygait.errors import UserError


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """NumPy's own reconstruction of an empty array, for the one case that it writes itself."""
    if subtype is not np.ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array that NumPy would not have written so")
    return np.ndarray((0,), dtype="b1")


def _from_buffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> np.ndarray:
    """An array of pickle protocol 5, whose bytes lie in the stream."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """How pickle protocols 0 to 2 carry bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


# NumPy 2 renamed numpy.core to numpy._core; both spellings are on users' disks.
_ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1_bytes,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows NumPy arrays and plain containers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not array data") from None


def read_pickle(path: str | Path) -> np.ndarray:
    """Read one sequence of silhouettes, running nothing that the file says.

    Args:
        path: a pickle of a uint8 array (S, H, W), or of a list of S such arrays (H, W).

    Returns:
        uint8 (S, H, W), S at least 1; grey levels 0 to 255.

    Raises:
        UserError: the file is missing, damaged, holds something else, or asks for code to be run.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(Path(path).read_bytes())).load()
        frames = np.asarray(content) if isinstance(content, np.ndarray) else np.stack(content)
    except FileNotFoundError:
        raise UserError(f"{path} is not there any more; run again to index the folder anew") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # a damaged stream can raise anything
        raise UserError(f"{path} is refused: {error}; it must be a pickled uint8 array (S, H, W)") from None
    if frames.dtype != np.uint8 or frames.ndim != 3 or 0 in frames.shape:
        raise UserError(f"{path} holds {frames.dtype} {frames.shape}; a uint8 array (S, H, W) with S >= 1 is needed")
    return frames
