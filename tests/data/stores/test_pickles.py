"""Pickles: every pickled form of an array is read; other pickles raise before code runs."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import pickletools
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait.data import read_pickle
from dygait.errors import UserError

WALK = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "090.pkl"
        path.write_bytes(content)
        return path

    return write


def renamed(stream: bytes, old: str, new: str) -> bytes:
    """A pickle of a low protocol with the name of a module replaced: those are lines of text."""
    assert f"c{old}\n".encode() in stream
    return stream.replace(f"c{old}\n".encode(), f"c{new}\n".encode())


class TestArrays:
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize(
        "array",
        [
            WALK,
            np.asfortranarray(WALK),
            WALK[:, ::2],
            np.zeros((1, 64, 64), np.uint8),
            np.full((3, 64, 44), 255, np.uint8),
            WALK[:, :, ::-1],
        ],
        ids=["plain", "fortran", "strided", "one frame", "64x44", "mirrored"],
    )
    def test_every_protocol(self, written: Callable[[bytes], Path], protocol: int, array: np.ndarray) -> None:
        found = read_pickle(written(pickle.dumps(array, protocol)))
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)

    @pytest.mark.parametrize("protocol", range(6))
    def test_a_list_of_frames(self, written: Callable[[bytes], Path], protocol: int) -> None:
        assert np.array_equal(read_pickle(written(pickle.dumps(list(WALK), protocol))), WALK)
        assert np.array_equal(read_pickle(written(pickle.dumps(tuple(WALK), protocol))), WALK)

    @pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
    @pytest.mark.parametrize("protocol", [0, 1, 2, 3])
    def test_the_names_of_numpy_1_and_2(self, written: Callable[[bytes], Path], module: str, protocol: int) -> None:
        here = np.ndarray.__reduce__(WALK)[0].__module__
        stream = renamed(pickle.dumps(WALK, protocol), here, module)
        assert module.encode() in stream
        assert np.array_equal(read_pickle(written(stream)), WALK)

    @pytest.mark.parametrize("module", ["numpy.core.numeric", "numpy._core.numeric"])
    def test_the_names_of_numpy_1_and_2_in_protocol_5(self, written: Callable[[bytes], Path], module: str) -> None:
        stream = pickle.dumps(WALK, 5)
        here = WALK.__reduce_ex__(5)[0].__module__

        def name(text: str) -> bytes:
            return b"\x8c" + bytes([len(text)]) + text.encode()

        assert name(here) in stream
        swapped = stream.replace(name(here), name(module))
        frame = stream.index(b"\x95")  # the frame's length follows, 8 bytes
        size = int.from_bytes(stream[frame + 1 : frame + 9], "little") + len(module) - len(here)
        swapped = swapped[: frame + 1] + size.to_bytes(8, "little") + swapped[frame + 9 :]
        assert np.array_equal(read_pickle(written(swapped)), WALK)


class Hostile:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def by_name(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls what a module has under a name, whether or not it is there."""
    stream = io.BytesIO()
    stream.write(b"\x80\x02" + f"c{module}\n{name}\n".encode())
    stream.write(pickle.dumps(arguments, 2)[2:-1] + b"R.")
    pickletools.dis(stream.getvalue(), out=io.StringIO())  # it is a valid stream
    return stream.getvalue()


def attacks(sentinel: str) -> dict[str, bytes]:
    """Streams each of which would make the file `sentinel`, or does something else that must not be done."""
    shell = f"touch {sentinel}"
    python = f"open({sentinel!r}, 'w').close()"
    array = WALK.__reduce__()
    return {
        "os.system": pickle.dumps(Hostile(os.system, shell)),
        "posix.system": by_name("posix", "system", shell),
        "subprocess": pickle.dumps(Hostile(subprocess.call, ["touch", sentinel])),
        "eval": pickle.dumps(Hostile(builtins.eval, python)),
        "exec": pickle.dumps(Hostile(builtins.exec, python), 0),
        "python 2's exec": by_name("__builtin__", "eval", python),
        "open": pickle.dumps(Hostile(builtins.open, sentinel, "w")),
        "getattr": pickle.dumps(Hostile(builtins.getattr, "text", "upper")),
        "numpy's shell": by_name("numpy.testing._private.utils", "runstring", python, {}),
        "numpy.testing": by_name("numpy.testing", "rundocs", sentinel),
        "numpy.save": by_name("numpy", "save", sentinel, [1]),
        "numpy.memmap": by_name("numpy", "memmap", sentinel, "uint8", "w+", 0, [3]),
        "numpy.core's other names": by_name("numpy.core.multiarray", "fromfile", sentinel),
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dump\x93.",
        "in a list": pickle.dumps([WALK[0], Hostile(os.system, shell)]),
        "as an array's state": pickle.dumps((array[0], Hostile(os.system, shell))),
        "as an array's element": pickle.dumps(np.array([Hostile(os.system, shell)], dtype=object)),
        "codecs": by_name("_codecs", "lookup", "zlib_codec"),
        "another encoding": by_name("_codecs", "encode", "abc", "rot13"),
        "an array of another class": by_name("numpy.core.multiarray", "_reconstruct", int, (0,), b"b"),
        "a huge empty array": by_name("numpy.core.multiarray", "_reconstruct", np.ndarray, (1 << 40,), b"b"),
        "a collection": pickle.dumps(OrderedDict(a=1)),
    }


@pytest.mark.parametrize("name", attacks("x"))
def test_hostile_pickles_run_nothing(tmp_path: Path, written: Callable[[bytes], Path], name: str) -> None:
    sentinel = tmp_path / "sentinel"
    path = written(attacks(str(sentinel))[name])
    with pytest.raises(UserError) as caught:
        read_pickle(path)
    assert not sentinel.exists()
    assert str(caught.value).startswith(f"{path} cannot be loaded")
    assert "uint8" in str(caught.value)


@pytest.mark.parametrize("name", ["os.system", "eval", "in a list", "as an array's element"])
def test_the_attacks_would_work_on_pickle_itself(tmp_path: Path, name: str) -> None:
    """Else the test above shows nothing."""
    sentinel = tmp_path / "sentinel"
    pickle.loads(attacks(str(sentinel))[name])
    assert sentinel.exists()


def test_what_a_refused_pickle_asked_for_is_named(written: Callable[[bytes], Path]) -> None:
    with pytest.raises(UserError, match=r"(posix|nt)\.system"):
        read_pickle(written(pickle.dumps(Hostile(os.system, "true"))))


class TestDamage:
    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.99])
    def test_truncated(self, written: Callable[[bytes], Path], protocol: int, part: float) -> None:
        stream = pickle.dumps(WALK, protocol)
        path = written(stream[: int(part * len(stream))])
        with pytest.raises(UserError, match=rf"^{path} cannot be loaded"):
            read_pickle(path)

    def test_no_pickle_at_all(self, written: Callable[[bytes], Path]) -> None:
        with pytest.raises(UserError, match="cannot be loaded"):
            read_pickle(written(b"\x89PNG\r\n\x1a\n"))

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=rf"^{tmp_path}/no.pkl does not exist"):
            read_pickle(tmp_path / "no.pkl")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=rf"^{tmp_path} cannot be read: "):
            read_pickle(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WALK.astype(np.float32), r"contains float32 \(5, 6, 4\); a uint8 array \(S, H, W\)"),
        (WALK > 127, r"contains bool \(5, 6, 4\)"),
        (WALK[0], r"contains uint8 \(6, 4\)"),
        (WALK[None], r"contains uint8 \(1, 5, 6, 4\)"),
        (WALK[:0], r"contains uint8 \(0, 6, 4\).*S >= 1"),
        (WALK[:, :0], r"contains uint8 \(5, 0, 4\)"),
        ([WALK[0], WALK[1, :3]], r"cannot be loaded"),
        ([], r"cannot be loaded"),
        ({"silhouettes": WALK}, r"cannot be loaded.*dict"),
        ("silhouettes", r"cannot be loaded.*str"),
        (None, r"cannot be loaded"),
        (7, r"cannot be loaded"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_silhouette_sequence(written: Callable[[bytes], Path], content: Any, message: str) -> None:
    path = written(pickle.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        read_pickle(path)
    assert str(caught.value).startswith(str(path))
