"""What is in a checkpoint's file, seen before PyTorch opens it.

PyTorch's `weights_only` keeps a file from running code, with three gaps that are closed here: up to PyTorch 2.5 a file
in the tar form of its earliest versions gets past it; an archive may hold compressed members that unfold to more memory
than there is; and nobody compares the checksums of what is read.
"""

from __future__ import annotations

import os
import pickletools
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch

from dygait.untrusted import check_unfolding

_ZIP = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END_SIZE = 22
_PICKLES = 5
"""In the form before archives: a number, a version, the machine, the content, and the names of its numbers."""

_LARGEST_PICKLE = 2**26
"""Bytes of the instructions around the numbers; those of a network of a thousand layers are less than one MiB."""

_MOST_VALUES = 10**6

# What a dict of tensors and plain values is rebuilt with, and no more.
_NAMES = re.compile(
    r"collections (OrderedDict|Counter)|_codecs encode|torch (Size|device|[A-Z]\w*Storage|b?float\w+|u?int\d+|bool)"
    r"|torch\._utils (_rebuild_tensor(_v[23])?|_rebuild_parameter)|torch\.storage (Untyped|Typed)Storage"
    r"|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
)

_NEVER = {"EXT1", "EXT2", "EXT4", "INST", "NEWOBJ_EX", "OBJ", "PERSID", "STACK_GLOBAL"}
"""Instructions that name what is called in other ways; PyTorch writes none of them."""


def look_through(path: str | Path) -> None:
    """Refuse a file that is damaged, or that PyTorch had better not open.

    Raises:
        OSError: it cannot be read.
        ValueError: why it is refused.
    """
    path = Path(path)
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a pipe must not be opened: it may never answer
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            file.seek(0)
            _look_through_stream(file)
            return
        file.seek(-min(_END_SIZE, os.fstat(file.fileno()).st_size), os.SEEK_END)
        if not file.read().startswith(_END):
            raise ValueError("it is cut off, or something is appended to it")
    try:
        with zipfile.ZipFile(path) as archive:
            _look_through_archive(archive)
    except (EOFError, NotImplementedError, RuntimeError, LookupError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _look_through_archive(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise ValueError("two of its members have one name")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"its member {member.filename!r} is compressed, as PyTorch writes none")
    if any(name.endswith("/constants.pkl") for name in names):
        raise ValueError("it is a program (TorchScript)")
    for name in (name for name in names if name.endswith("/data.pkl")):
        if archive.getinfo(name).file_size > _LARGEST_PICKLE:
            raise ValueError(f"{name} has more than {_LARGEST_PICKLE} bytes")
        with archive.open(name) as file:
            _look_through_pickle(file)
    broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"{broken} does not have its checksum")


def _look_through_stream(file: IO[bytes]) -> None:
    """Look through the form before archives, pickles one after the other."""
    try:
        with tarfile.open(fileobj=file, mode="r:"):
            raise ValueError("it has the form of PyTorch before 0.2 (tar), in which code can hide")
    except tarfile.TarError:
        file.seek(0)
    for _ in range(_PICKLES):
        _look_through_pickle(file)


def _look_through_pickle(file: IO[bytes]) -> None:
    """Refuse a pickle that asks for anything but what tensors and plain values are rebuilt with."""
    start = file.tell()
    try:
        for code, argument, _ in pickletools.genops(file):
            if code.name in _NEVER:
                raise ValueError(f"its instruction {code.name} is none of weights and plain values (disallowed)")
            if code.name == "GLOBAL" and not _NAMES.fullmatch(str(argument)):
                raise ValueError(f"it asks for {argument!r}, which is neither weights nor plain values (disallowed)")
            if file.tell() - start > _LARGEST_PICKLE:
                raise ValueError("its instructions are longer than any network's")
    except (EOFError, OverflowError, UnicodeError, MemoryError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def check_content(state: Any) -> None:
    """Refuse content that is small in the file and large once somebody walks through it or copies it.

    Raises:
        ValueError: it unfolds without end, or holds something else than tensors and plain values.
    """
    check_unfolding(state, _inside, _MOST_VALUES)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_meta:
            raise ValueError("it holds a tensor of a form that no network has")
        if value.numel() > value.untyped_storage().nbytes() // value.element_size():
            raise ValueError(f"it holds a tensor {tuple(value.shape)} of fewer numbers")
        return ()
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return value if isinstance(value, (list, tuple, set)) else ()
