"""Unpickle NumPy arrays and lists of them from untrusted files.

A pickle can call functions. Only those that rebuild an array are allowed, each replaced by one that accepts plain
numbers only; the size of the result is bounded by the size of the file.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_REPEATED_BYTES = 2**26
"""A list may contain one array many times: the result is at most this large, or as large as the file."""


def load_arrays(content: bytes) -> np.ndarray:
    """Return the array of a pickle, or the stacked arrays of its list; it may be read-only.

    Raises:
        pickle.UnpicklingError, or any other exception for a damaged stream.
    """
    for code, argument, _ in pickletools.genops(content):
        # CPython up to 3.13 allocates a table of as many entries as the index.
        if "PUT" in code.name and int(argument or 0) > len(content):
            raise pickle.UnpicklingError("it indexes more objects than it can contain")
    loaded = _ArrayUnpickler(content).load()
    if isinstance(loaded, _Array):
        return loaded.content()
    if not isinstance(loaded, (list, tuple)):
        raise pickle.UnpicklingError(f"it contains a {type(loaded).__name__}")
    if not all(isinstance(item, _Array) for item in loaded):
        raise pickle.UnpicklingError("it contains a list of other objects than arrays")
    arrays = [item.content() for item in loaded]
    if sum(array.nbytes for array in arrays) > max(_REPEATED_BYTES, len(content)):
        raise pickle.UnpicklingError("it contains the same arrays repeatedly")
    return np.stack(arrays, casting="no")


class _DType:
    """Replaces `numpy.dtype`, whose `__setstate__` accepts flags that make NumPy dereference numbers."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not re.fullmatch("[biufc][0-9]{1,2}", code):
            raise pickle.UnpicklingError("an array of something else than numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


_FromBuffer = Callable[[Any, Any, Any, str], "_Array"]


class _Array:
    """Replaces `numpy.ndarray`: NumPy pickles an empty array first, and then its state."""

    def __init__(self, from_buffer: _FromBuffer, array: np.ndarray | None = None) -> None:
        self._from_buffer, self._array = from_buffer, array

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data  # as Python 2 wrote bytes
        self._array = self._from_buffer(data, dtype, shape, "F" if fortran else "C").content()

    def content(self) -> np.ndarray:
        if self._array is None:
            raise pickle.UnpicklingError("an array without contents")
        return self._array


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of NumPy arrays and plain containers only."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        # NumPy 2 renamed numpy.core to numpy._core; both occur in files. These are methods, because a pickle
        # cannot set attributes of a method.
        self._allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): "ndarray",  # an argument of `_reconstruct`; it cannot be called
            ("numpy", "dtype"): _DType,
            ("_codecs", "encode"): self._encode,
            **{(f"numpy.{core}.multiarray", "_reconstruct"): self._reconstruct for core in ("core", "_core")},
            **{(f"numpy.{core}.numeric", "_frombuffer"): self._from_buffer for core in ("core", "_core")},
        }
        self._left = 2 * len(content)  # remaining bytes: each byte of the file is used at most twice

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not array data") from None

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("it expands to more than its size")

    def _encode(self, text: str, encoding: str) -> bytes:
        """Decode bytes of pickle protocols 0 to 2."""
        if encoding != "latin1":
            raise pickle.UnpicklingError("bytes encoded in another way than NumPy's")
        self._spend(len(text))
        return text.encode("latin1")

    def _reconstruct(self, subtype: Any, shape: Any, dtype: Any) -> _Array:
        """Protocols 0 to 4: an empty array, whose state follows."""
        return _Array(self._from_buffer)

    def _from_buffer(self, buffer: Any, dtype: _DType, shape: Any, order: Any) -> _Array:
        """Protocol 5, and the state of the others."""
        self._spend(len(buffer))
        return _Array(self._from_buffer, np.frombuffer(buffer, dtype.dtype).reshape(shape, order=order))
