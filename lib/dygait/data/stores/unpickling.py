"""Unpickling NumPy arrays and lists of them, from files that nobody vouches for.

A pickle is a program. Two things keep it harmless: its instructions are looked through before any of them runs, so that
no length and no number in them is beyond the file; and what they may call are the few steps that rebuild an array,
done here, with shapes and bytes compared before NumPy sees them. Neither time nor memory exceeds a small multiple of
the file's size, whatever is in it.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

_SHARED_BYTES = 2**26
"""A list may name one array many times: what it makes is bounded by this, or by the file's size if that is larger."""

_TOKEN, _LINE, _LINES = 0, -1, -2
# What follows each instruction: a number of bytes, one line or two of text, or a length in so many bytes and as much.
_FIXED = {
    **dict.fromkeys("(0.12NabelRt)]}\x85\x86\x87\x88\x89\x93\x94", _TOKEN),
    **dict.fromkeys("Kh\x80q", 1),
    **dict.fromkeys("Jjr", 4),
    **dict.fromkeys("G\x95", 8),
    **dict.fromkeys("FILSVgp", _LINE),
    "M": 2,
    "c": _LINES,
}
_COUNTED = {**dict.fromkeys("U\x8cC\x8a", 1), **dict.fromkeys("TXB\x8b", 4), **dict.fromkeys("\x8d\x8e\x96", 8)}
_ARGUMENTS = {ord(code): (size, 0) for code, size in _FIXED.items()}
_ARGUMENTS |= {ord(code): (0, size) for code, size in _COUNTED.items()}
_STOP, _PUT, _BINARY_PUTS, _FRAME = ord("."), ord("p"), (ord("q"), ord("r")), 0x95


def load_arrays(content: bytes) -> np.ndarray:
    """Return the array that a pickle holds, or those of its list, stacked.

    Raises:
        pickle.UnpicklingError, or whatever else a damaged stream raises; no process or file is touched.
    """
    _look_through(content)
    loaded = _ArrayUnpickler(content).load()
    if isinstance(loaded, _Array):
        return loaded.done()
    if not isinstance(loaded, (list, tuple)):
        raise pickle.UnpicklingError(f"it holds a {type(loaded).__name__}")
    if not all(isinstance(item, _Array) for item in loaded):
        raise pickle.UnpicklingError("it holds a list of something else than arrays")
    arrays = [item.done() for item in loaded]
    if len({array.dtype for array in arrays}) > 1:
        raise pickle.UnpicklingError("it holds arrays of different types")
    if sum(array.nbytes for array in arrays) > max(_SHARED_BYTES, len(content)):
        raise pickle.UnpicklingError("it holds the same arrays again and again")
    return np.stack(arrays)


def _look_through(content: bytes) -> None:
    """Refuse instructions that arrays do not need, and lengths and numbers of places beyond the file's size."""
    place, end = 0, len(content)
    while place < end:
        code = content[place]
        try:
            size, counted = _ARGUMENTS[code]
        except KeyError:
            raise pickle.UnpicklingError(f"its instruction {bytes([code])!r} is none of arrays and lists") from None
        place += 1
        if code == _STOP:
            return
        if size < 0:
            for _ in range(-size):
                start, place = place, content.find(b"\n", place) + 1
                if not place:
                    raise pickle.UnpicklingError("it is cut off")
            if code == _PUT:
                line = content[start : place - 1]
                if not line.isdigit() or len(line) > 20 or int(line) > end:
                    raise pickle.UnpicklingError("it numbers more objects than it can have")
            continue
        start, place = place, place + size + counted
        if counted:
            place += int.from_bytes(content[start:place], "little")
        elif code in _BINARY_PUTS and int.from_bytes(content[start:place], "little") > end:
            # The unpickler has room for as many as the highest number says.
            raise pickle.UnpicklingError("it numbers more objects than it can have")
        elif code == _FRAME and int.from_bytes(content[start:place], "little") > end - place:
            raise pickle.UnpicklingError("it is cut off")
    raise pickle.UnpicklingError("it is cut off")


class _Named:
    """What a pickle may name: it can be called, or handed over, and not be changed."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any] | None) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        if self._call is None:
            raise pickle.UnpicklingError("an array that NumPy would not have written so")
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it would change a function")


_NDARRAY = _Named(None)


class _Type:
    """A type of elements: one of NumPy's plain numbers."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not re.fullmatch("[biufc][0-9]{1,2}", code):
            raise pickle.UnpicklingError("an array of something else than numbers")
        self._code, self._order = code, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a type of numbers that NumPy would not have written so")
        self._order = state[1]

    def dtype(self) -> np.dtype:
        return np.dtype(self._order + self._code)


class _Array:
    """An array in the making: NumPy writes an empty one first, and then what is in it."""

    __slots__ = ("_array", "_spend")

    def __init__(self, spend: Callable[[int], None], array: np.ndarray | None = None) -> None:
        self._spend = spend
        self._array = array

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        if isinstance(data, str):  # as Python 2 wrote bytes
            data = data.encode("latin1")
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array of something else than numbers")
        dtype = _checked(shape, kind, len(data))
        self._spend(len(data))
        array = np.ndarray((0,), "u1")
        array.__setstate__((1, shape, dtype, bool(fortran), data))  # large bytes are not copied
        self._array = array

    def done(self) -> np.ndarray:
        if self._array is None:
            raise pickle.UnpicklingError("an array without contents")
        return self._array


def _checked(shape: Any, kind: Any, size: int) -> np.dtype:
    """Return the type of an array's elements if it and the shape are what so many bytes are."""
    if not isinstance(kind, _Type):
        raise pickle.UnpicklingError("an array of something else than numbers")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**40 for n in shape):
        raise pickle.UnpicklingError("an array of no possible shape")
    dtype = kind.dtype()
    if math.prod(shape) * dtype.itemsize != size:
        raise pickle.UnpicklingError(f"an array {shape} of {dtype} in {size} bytes")
    return dtype


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows NumPy arrays and plain containers, and nothing else."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        # NumPy 2 renamed numpy.core to numpy._core; both spellings are on users' disks.
        self._admitted = {
            ("numpy", "ndarray"): _NDARRAY,
            ("numpy", "dtype"): _Named(_Type),
            ("_codecs", "encode"): _Named(self._encode),
            **{(f"numpy.{core}.multiarray", "_reconstruct"): _Named(self._empty) for core in ("core", "_core")},
            **{(f"numpy.{core}.numeric", "_frombuffer"): _Named(self._from_buffer) for core in ("core", "_core")},
        }
        self._left = 2 * len(content)  # bytes still to be made: each lies in the file, and is copied twice at most

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not array data") from None

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("it unfolds to more than it holds")

    def _encode(self, text: Any, encoding: Any) -> bytes:
        """How pickle protocols 0 to 2 carry bytes."""
        if encoding != "latin1" or not isinstance(text, str):
            raise pickle.UnpicklingError("bytes encoded in another way than NumPy's")
        self._spend(len(text))
        return text.encode("latin1")

    def _empty(self, subtype: Any, shape: Any, dtype: Any) -> _Array:
        """NumPy's own reconstruction of an empty array, for the one case that it writes itself."""
        if subtype is not _NDARRAY or shape != (0,):
            raise pickle.UnpicklingError("an array that NumPy would not have written so")
        return _Array(self._spend)

    def _from_buffer(self, buffer: Any, kind: Any, shape: Any, order: Any) -> _Array:
        """An array of pickle protocol 5, whose bytes lie in the stream."""
        if not isinstance(buffer, (bytes, bytearray)) or order not in ("C", "F", "A"):
            raise pickle.UnpicklingError("an array that NumPy would not have written so")
        dtype = _checked(shape, kind, len(buffer))
        return _Array(self._spend, np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order))
