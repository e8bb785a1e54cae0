"""Every pickled form of an array is read; damaged, hostile and other pickles are errors that name the file."""

import os
import pickle
import pickletools
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.data.stores import read_pickle
from dygait.data.stores.pickles import parse_pickle
from dygait.errors import UserError
from helpers.fuzzing import damaged

NAME = "001/nm-01/090/090.pkl"
WALK = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
FORMS = {
    "plain": WALK,
    "fortran": np.asfortranarray(WALK),
    "strided": WALK[:, ::2],
    "mirrored": WALK[:, :, ::-1],
    "one frame": np.zeros((1, 64, 64), np.uint8),
    "several channels": np.stack([WALK, ~WALK], 1),
    "list of several channels": list(np.stack([WALK, ~WALK], 1)),
    "list": list(WALK),
    "tuple": tuple(WALK),
    "one frame many times": [WALK[0]] * 500,
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_every_protocol(tmp_path: Path, protocol: int, form: str) -> None:
    path = tmp_path / "090.pkl"
    path.write_bytes(pickle.dumps(FORMS[form], protocol))
    frames = read_pickle(path)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, np.asarray(FORMS[form]))


@pytest.mark.parametrize("core", ["core", "_core"])
@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_the_names_of_numpy_1_and_2(core: str, protocol: int) -> None:
    stream, reduced = pickle.dumps(WALK, protocol), WALK.__reduce_ex__(protocol)
    module = reduced[0].__module__
    other_module = f"numpy.{core}.{module.rpartition('.')[2]}"
    if protocol < 5:
        assert f"c{module}\n".encode() in stream
        stream = stream.replace(f"c{module}\n".encode(), f"c{other_module}\n".encode())
    else:
        old, new = (b"\x8c" + bytes([len(name)]) + name.encode() for name in (module, other_module))
        assert old in stream
        stream = stream.replace(old, new)
        frame = stream.index(b"\x95") + 1  # the frame's length follows, 8 bytes
        size = int.from_bytes(stream[frame : frame + 8], "little") + len(new) - len(old)
        stream = stream[:frame] + size.to_bytes(8, "little") + stream[frame + 8 :]
    assert np.array_equal(parse_pickle(stream, NAME), WALK)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WALK.astype(np.float32), r"contains float32 \(5, 6, 4\)"),
        (WALK > 127, r"contains bool \(5, 6, 4\)"),
        (WALK[0], r"contains uint8 \(6, 4\)"),
        (WALK[None, None], r"contains uint8 \(1, 1, 5, 6, 4\)"),
        (WALK[:0], r"contains uint8 \(0, 6, 4\).*S >= 1"),
        (WALK[:, :0], r"contains uint8 \(5, 0, 4\)"),
        ([WALK[0], WALK[1, :3]], "cannot be loaded"),
        ([], "cannot be loaded"),
        ({"silhouettes": WALK}, r"cannot be loaded.*dict"),
        ("silhouettes", r"cannot be loaded.*str"),
        (None, "cannot be loaded"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_pickles_without_silhouettes(content: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{NAME} {message}"):
        parse_pickle(pickle.dumps(content), NAME)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/no.pkl does not exist"):
        read_pickle(tmp_path / "no.pkl")
    with pytest.raises(UserError, match=rf"^{tmp_path} cannot be read: "):
        read_pickle(tmp_path)


def outcome(content: bytes) -> str:
    """Read a pickle and check the result; return the error message, or an empty string."""
    try:
        frames = parse_pickle(content, NAME)
    except UserError as error:
        reason = str(error)
        assert reason.startswith(f"{NAME} ")
        assert reason.isprintable()
        assert len(reason) < 500
        return reason
    assert frames.dtype == np.uint8
    assert frames.ndim == 3
    assert 0 not in frames.shape
    assert frames.nbytes <= max(len(content), 2**26)
    frames.sum()  # all of its memory can be read
    return ""


def text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def call(module: str, name: str, *arguments: Any) -> bytes:
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"R."


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"


def with_state(shape: bytes, kind: str = "u1", data: bytes = b"C\x08" + bytes(8)) -> bytes:
    """Return a pickle of an array as NumPy writes it, except for the arguments."""
    dtype = b"cnumpy\ndtype\n" + text(kind) + b"\x89\x88\x87R"
    return b"\x80\x03" + RECONSTRUCT + b"K\x00\x85C\x01b\x87R(K\x01" + shape + dtype + b"\x89" + data + b"tb."


class Hostile:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, ("sentinel",)


CUBE = b"K\x02K\x02K\x02\x87"
HUGE = b"\x8a\x08" + struct.pack("<q", 2**62)
HOSTILE = {
    "a call": pickle.dumps(Hostile()),
    "a call as an array's state": pickle.dumps((WALK.__reduce__()[0], Hostile())),
    "another function of numpy": call("numpy", "memmap", "sentinel", "uint8", "w+", 0, [3]),
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dump\x93.",
    "another function of codecs": call("_codecs", "lookup", "zlib_codec"),
    "another encoding": call("_codecs", "encode", "abc", "rot13"),
    "an array of another class": call("numpy.core.multiarray", "_reconstruct", int, (0,), b"b"),
    "a shape beyond its bytes": with_state(b"K\x02K\x02K\xff\x87"),
    "a huge shape": with_state(HUGE + HUGE + HUGE + b"\x87"),
    "a shape whose product overflows to the right size": with_state(HUGE + b"K\x04K\x08\x87"),
    "a negative shape": with_state(b"J\xfe\xff\xff\xffJ\xfe\xff\xff\xffK\x02\x87"),
    "a shape of another type": with_state(text("222")),
    "too many dimensions": with_state(b"(" + b"K\x01" * 70 + b"t"),
    "objects": with_state(CUBE, "O", b"](" + b"K\x01" * 8 + b"e"),
    "objects for pointers": with_state(b"K\x01K\x01K\x01\x87", "O", b"C\x08" + b"\x41" * 8),
    "a record": with_state(CUBE, "u1,u1"),
    "a void": with_state(CUBE, "V2147483647"),
    "an unknown type": with_state(CUBE, "f3"),
    "a type's hostile state": b"\x80\x03cnumpy\ndtype\n" + text("u1") + b"\x89\x88\x87R(K\x03" + text("?") + b"tb.",
    "no data": with_state(CUBE, data=b"N"),
    "an array never filled": b"\x80\x03" + RECONSTRUCT + b"K\x00\x85C\x01b\x87R.",
    "an array of any size by its class": b"\x80\x03cnumpy\nndarray\n" + HUGE + b"K\x01K\x01\x87\x85R.",
    "too few arguments": b"\x80\x03cnumpy.core.numeric\n_frombuffer\n)R.",
    "bytes of 2**60": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"a.",
    "a string of negative length": b"T" + struct.pack("<i", -2) + b"a.",
    "a large index of the memo": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a number of many digits": b"L" + b"9" * 100_000 + b"L\n.",
    "deep": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "the list itself": b"\x80\x02]q\x00h\x00a.",
    "lists of lists of lists": b"\x80\x02]q\x00" + b"](" + b"h\x00" * 9 + b"eq\x00" * 60 + b".",
    "a persistent name": b"\x80\x02Pname\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a buffer out of band": b"\x80\x05\x97.",
    "a function's defaults": b"\x80\x03c_codecs\nencode\nN}" + text("__defaults__") + b")s\x86b.",
    "a class's state": b"\x80\x03cnumpy\ndtype\nNN\x86b.",
    "names that write to the terminal": b"\x80\x04" + b"\x8c\x08\x1b[2J\x1b[1m\x8c\x03\xed\xa0\x80\x93.",
    "the same array repeatedly": b"\x80\x02("
    + with_state(b"M\x00\x01M\x00\x01K\x01\x87", data=b"B\x00\x00\x01\x00" + bytes(2**16))[2:-1]
    + b"q\x00" + b"h\x00" * 2000 + b"t.",
    "the same text encoded repeatedly": b"\x80\x02(c_codecs\nencode\nq\x00" + text("a" * 2**16) + text("latin1")
    + b"\x86q\x01R" + b"h\x00h\x01R" * 20_000 + b"t.",
    "a long name": b"c" + b"o" * 100_000 + b"\nx\n.",
    "no pickle": b"\x89PNG\r\n\x1a\n",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    try:
        assert "cannot be loaded" in outcome(HOSTILE[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**25, "memory is bounded by the file's size"
    assert not list(tmp_path.iterdir()), "no function is called"


def test_hostile_pickles_are_valid_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the errors above would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["a call"])
    assert (tmp_path / "sentinel").exists()
    assert r"mkdir" in outcome(HOSTILE["a call"]), "the function is named"
    assert not outcome(with_state(CUBE))
    assert not outcome(with_state(CUBE, data=text("\x01" * 8)))
    assert "float32 (2, 1, 1)" in outcome(with_state(b"K\x02K\x01K\x01\x87", "f4"))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.99])
def test_truncated(protocol: int, part: float) -> None:
    stream = pickle.dumps(WALK, protocol)
    assert "cannot be loaded" in outcome(stream[: int(part * len(stream))])


SEEDS = [
    pickle.dumps(content, protocol)
    for protocol in range(6)
    for content in (WALK, [*WALK], tuple(WALK), np.asfortranarray(WALK), WALK.astype(np.float32))
]
ALLOWED = [
    b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy._core.numeric\n_frombuffer\n",
]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from([code.code.encode("latin1") for code in pickletools.opcodes]),
    st.binary(min_size=1, max_size=1),
    st.sampled_from([*ALLOWED, b"cos\nsystem\n", b"cnumpy\nfromfile\n", b"cnumpy\nmemmap\n"]),
    st.sampled_from([text(word) for word in ("u1", "O", "V9", "latin1", "C", "|", "touch x", "\ud800", "\x1b[2J")]),
    st.tuples(st.sampled_from([b"K", b"h", b"q"]), st.binary(min_size=1, max_size=1)).map(b"".join),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + struct.pack("<i", n)),
    st.binary(max_size=40).map(lambda data: b"B" + struct.pack("<I", len(data)) + data),
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        damaged(SEEDS), st.binary(max_size=200), st.lists(WORDS, max_size=30).map(lambda words: b"".join(words) + b".")
    )
)
def test_damaged_and_arbitrary(content: bytes) -> None:
    outcome(content)
