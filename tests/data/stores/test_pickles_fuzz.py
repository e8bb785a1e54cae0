"""Pickles damaged or built to harm, in every way that comes to mind: frames or a refusal that names the file."""

from __future__ import annotations

import pickle
import pickletools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dygait.data.stores import unpickling
from dygait.data.stores.pickles import parse_pickle, read_pickle
from dygait.errors import UserError

NAME = "001/nm-01/090/090.pkl"
WALK = np.random.default_rng(0).integers(0, 256, (3, 5, 4), dtype=np.uint8)
SEEDS = [
    pickle.dumps(content, protocol)
    for protocol in range(6)
    for content in (WALK, [*WALK], tuple(WALK), np.asfortranarray(WALK), WALK.astype(np.float32))
]
CORE = b"numpy.core.multiarray"


def outcome(content: bytes) -> str:
    """Read a pickle, as far as it can be; return why it was refused, or nothing."""
    try:
        frames = parse_pickle(content, NAME)
    except UserError as error:
        reason = str(error)
    else:
        reason = ""
    if reason:
        assert reason.startswith(f"{NAME} ")
        assert reason.isprintable()
        assert len(reason) < 500
        return reason
    assert frames.dtype == np.uint8
    assert frames.ndim == 3
    assert 0 not in frames.shape
    assert frames.nbytes <= max(len(content), 2**26)
    frames.sum()  # its memory is there
    return ""


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid pickle, and some accidents."""
    stream = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(stream)))
        kind = draw(st.sampled_from(["cut", "flip", "insert", "delete", "repeat"]))
        if kind == "cut":
            del stream[position:]
        elif kind == "flip":
            stream[position : position + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "insert":
            stream[position:position] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "delete":
            del stream[position : position + draw(st.integers(1, 12))]
        else:
            stream[position:position] = stream[position : position + draw(st.integers(1, 60))]
    return bytes(stream)


def text(value: str) -> bytes:
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


WORDS = st.one_of(
    st.sampled_from([code.code.encode("latin1") for code in pickletools.opcodes]),
    st.binary(min_size=1, max_size=1),
    st.sampled_from([f"c{module}\n{name}\n".encode() for module, name in unpickling._ArrayUnpickler(b"")._allowed]),
    st.sampled_from([b"cos\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\nfromfile\n", b"cnumpy\nmemmap\n"]),
    st.sampled_from([text(word) for word in ("u1", "O", "V9", "latin1", "C", "|", "touch x", "\ud800", "\x1b[2J")]),
    st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"J" + struct.pack("<i", n)),
    st.integers(0, 20).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 20).map(lambda n: b"q" + bytes([n])),
    st.binary(max_size=40).map(lambda data: b"B" + struct.pack("<I", len(data)) + data),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(damaged())
def test_damaged(content: bytes) -> None:
    outcome(content)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=30).map(lambda words: b"".join(words) + b".")))
def test_arbitrary_bytes_and_instructions(content: bytes) -> None:
    outcome(content)


def empty_array(shape: bytes = b"K\x00\x85") -> bytes:
    return b"c" + CORE + b"\n_reconstruct\ncnumpy\nndarray\n" + shape + b"C\x01b\x87R"


def with_state(shape: bytes, kind: str = "u1", data: bytes = b"C\x08" + bytes(8)) -> bytes:
    """A pickle of an array, as NumPy writes it but for what is given."""
    dtype = b"cnumpy\ndtype\n" + text(kind) + b"\x89\x88\x87R"
    return b"\x80\x03" + empty_array() + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb."


CUBE = b"K\x02K\x02K\x02\x87"
HUGE = b"\x8a\x08" + struct.pack("<q", 2**62)

HOSTILE = {
    "a shape beyond its bytes": with_state(b"K\x02K\x02K\xff\x87"),
    "a huge shape": with_state(HUGE + HUGE + HUGE + b"\x87"),
    "a shape whose product overflows to what is there": with_state(HUGE + b"K\x04K\x08\x87"),
    "a negative shape": with_state(b"J\xfe\xff\xff\xffJ\xfe\xff\xff\xffK\x02\x87"),
    "a shape that is none": with_state(text("222")),
    "too many dimensions": with_state(b"(" + b"K\x01" * 70 + b"t"),
    "objects": with_state(CUBE, "O", b"](" + b"K\x01" * 8 + b"e"),
    "objects for pointers": with_state(b"K\x01K\x01K\x01\x87", "O", b"C\x08" + b"\x41" * 8),
    "a record": with_state(CUBE, "u1,u1"),
    "a void": with_state(CUBE, "V2147483647"),
    "text": with_state(CUBE, "U999999999"),
    "a type that is none": with_state(CUBE, "f3"),
    "a type's hostile state": b"\x80\x03cnumpy\ndtype\n" + text("u1") + b"\x89\x88\x87R(K\x03" + text("?") + b"tb.",
    "no data": with_state(CUBE, data=b"N"),
    "an array twice filled": with_state(CUBE)[:-1] + b"N" + b"b.",
    "an empty array of any size": b"\x80\x03" + empty_array(HUGE + b"\x85") + b".",
    "an array never filled": b"\x80\x03" + empty_array() + b".",
    "an array out of nothing": b"\x80\x03cnumpy\nndarray\n" + HUGE + b"K\x01K\x01\x87\x85R.",
    "an array by its class": b"\x80\x03cnumpy\nndarray\nK\x02K\x02K\x02\x87\x85\x81.",
    "a view with no strides": b"\x80\x03cnumpy\nndarray\n(" + HUGE + b"\x85" + text("u1") + b"C\x01aK\x00K\x00\x85tR.",
    "too few arguments": b"\x80\x03cnumpy.core.numeric\n_frombuffer\n)R.",
    "a buffer that is none": b"\x80\x03cnumpy.core.numeric\n_frombuffer\n(NNNNtR.",
    "bytes of 2**60": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"a.",
    "a bytearray of 2**60": b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b"a.",
    "text of 2**33": b"\x80\x04\x8d" + struct.pack("<Q", 2**33) + b"a.",
    "text of 2**31": b"\x80\x02X" + struct.pack("<I", 2**31) + b"a.",
    "a string of less than nothing": b"T" + struct.pack("<i", -2) + b"a.",
    "a long frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
    "room for four thousand million": b"\x80\x02Nr\xff\xff\xff\xff.",
    "the same in digits": b"Np4294967295\n.",
    "a number of many digits": b"L" + b"9" * 100_000 + b"L\n.",
    "deep": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b"\x80\x02N" + b"\x85" * 200_000 + b".",
    "the list itself": b"\x80\x02]q\x00h\x00a.",
    "lists of lists of lists": b"\x80\x02]q\x00" + b"](" + b"h\x00" * 9 + b"eq\x00" * 60 + b".",
    "a mapping of colliding numbers": b"\x80\x02}(" + b"K\x01N" * 10 + b"u.",
    "a persistent name": b"\x80\x02Pname\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "an instance": b"(ios\nsystem\n.",
    "a buffer out of band": b"\x80\x05\x97.",
    "a function's defaults": b"\x80\x03c_codecs\nencode\nN}" + text("__defaults__") + b")s\x86b.",
    "an admitted function's state": b"\x80\x03c_codecs\nencode\nN" + text("state") + b"\x86b.",
    "a class's state": b"\x80\x03cnumpy\ndtype\nNN\x86b.",
    "names that write to the terminal": b"\x80\x04" + b"\x8c\x08\x1b[2J\x1b[1m\x8c\x03\xed\xa0\x80\x93.",
    "a name as long as a book": b"c" + b"o" * 100_000 + b"\nx\n.",
    "the same array again and again": b"\x80\x02("
    + with_state(b"M\x00\x01M\x00\x01K\x01\x87", data=b"B\x00\x00\x01\x00" + bytes(2**16))[2:-1]
    + b"q\x00"
    + b"h\x00" * 2000
    + b"t.",
    "the same text encoded again and again": b"\x80\x02("
    + b"c_codecs\nencode\nq\x00"
    + text("a" * 2**16)
    + text("latin1")
    + b"\x86q\x01R"
    + b"h\x00h\x01R" * 20_000
    + b"t.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    tracemalloc.start()
    try:
        assert outcome(HOSTILE[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**25, "memory is bounded by the file's size"


def test_what_hostile_pickles_are_made_of_is_read_where_it_is_sound() -> None:
    """Else the refusals above show nothing."""
    assert not outcome(with_state(CUBE))
    assert not outcome(with_state(CUBE, data=text("\x01" * 8)))
    assert "float32 (2, 1, 1)" in outcome(with_state(b"K\x02K\x01K\x01\x87", "f4"))


def test_frames_that_a_list_names_several_times_are_read() -> None:
    frames = parse_pickle(pickle.dumps([WALK[0]] * 500), NAME)
    assert frames.shape == (500, 5, 4)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "090.pkl"
    path.write_bytes(HOSTILE["bytes of 2**60"])
    with pytest.raises(UserError, match=rf"^{path} cannot be loaded"):
        read_pickle(path)
