"""Unpickling NumPy arrays and lists of them from untrusted files.

A pickle can call functions. Only those that rebuild an array are allowed, each replaced by one that stores its
arguments; the array is built from plain numbers afterwards, and its size is limited by the size of the file.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np

_REPEATED_BYTES = 2**26
"""A list may contain an array many times: the result is at most this large, or as large as the file."""


def load_arrays(content: bytes) -> np.ndarray:
    """Return the array of a pickle, or the stacked arrays of its list; it may be read-only.

    Raises:
        pickle.UnpicklingError, or any other exception for a damaged stream.
    """
    for code, argument, _ in pickletools.genops(content):
        # CPython up to 3.13 allocates a table with as many entries as the index.
        if "PUT" in code.name and int(argument or 0) > len(content):
            raise pickle.UnpicklingError("it indexes more objects than it can contain")
    result = _ArrayUnpickler(io.BytesIO(content)).load()
    if isinstance(result, _Array):
        return result.build()
    if not isinstance(result, (list, tuple)) or not all(isinstance(item, _Array) for item in result):
        raise pickle.UnpicklingError(f"it contains a {type(result).__name__}, neither an array nor a list of arrays")
    if sum(len(item.buffer) for item in result) > max(_REPEATED_BYTES, len(content)):
        raise pickle.UnpicklingError("it contains the same arrays repeatedly")
    return np.stack([item.build() for item in result], casting="no")


class _DType:
    """Replaces `numpy.dtype`, whose `__setstate__` accepts flags that make NumPy dereference numbers."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not re.fullmatch("[biufc][0-9]{1,2}", code):
            raise pickle.UnpicklingError("an array of something else than numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Replaces `numpy.ndarray`: the arguments of `_frombuffer` (protocol 5), or the state of an array (0 to 4)."""

    def __init__(self, buffer: Any = b"", dtype: Any = None, shape: Any = (), order: Any = "C") -> None:
        self.buffer, self.dtype, self.shape, self.order = buffer, dtype, shape, order

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, fortran, self.buffer = state
        self.order = "F" if fortran else "C"

    def build(self) -> np.ndarray:
        """Return a view of the buffer; bytes of protocols 0 to 2 are text."""
        if not isinstance(self.dtype, _DType):
            raise pickle.UnpicklingError("an array without contents")
        buffer = self.buffer.encode("latin1") if isinstance(self.buffer, str) else self.buffer
        return np.frombuffer(buffer, self.dtype.dtype).reshape(self.shape, order=self.order)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that accepts only NumPy arrays and plain containers."""

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): "ndarray",  # an argument of `_reconstruct`, which cannot be called
            ("numpy", "dtype"): _DType,
            ("_codecs", "encode"): self._encode,  # a method, since a pickle cannot set attributes of methods
            ("numpy.core.multiarray", "_reconstruct"): self._reconstruct,
            ("numpy.core.numeric", "_frombuffer"): _Array,
        }
        try:
            return allowed[module.replace("numpy._core", "numpy.core"), name]  # NumPy 2 renamed it
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not array data") from None

    def _encode(self, text: str, encoding: str) -> str:
        """Return bytes of pickle protocols 0 to 2 as text, since encoding them repeatedly could exhaust the memory."""
        if encoding != "latin1":
            raise pickle.UnpicklingError("bytes encoded in another way than NumPy's")
        return text

    def _reconstruct(self, subtype: Any, shape: Any, dtype: Any) -> _Array:
        """Return an empty array, whose state follows."""
        return _Array()
