"""Read folders, archives and nested archives without unpacking to disk.

An archive with an absolute path, a path out of its folder, a link or a device raises `UserError`. A truncated or
damaged archive raises `DamagedError`, at its end at the latest.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from dygait.errors import UserError
from dygait.preprocess.layout import ARCHIVES, natural_key

MAX_IN_MEMORY_BYTES = 64 * 2**20
"""The largest nested archive or tar that is read into memory, in bytes."""

_UNSUPPORTED = re.compile(r"\.(7z|rar)$", re.IGNORECASE)
_MAX_FOLDER_DEPTH = 12
# What the standard library's archive readers raise for damaged input.
_DAMAGE = (
    ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, ValueError, lzma.LZMAError, struct.error,
    tarfile.TarError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_MAX_EXPANSION_FACTOR = 100
_MAX_EXPANSION_BYTES = 2**30
"""A compressed tar may expand to this factor times its size plus this many bytes; tars of pictures: up to tenfold."""
_AES_METHOD = 99
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}


class DamagedError(UserError):
    """An archive cannot be read to its end; the other inputs are still processed."""


@dataclass(frozen=True)
class InputFile:
    """A file on disk, in a zip on disk, or in memory.

    Attributes:
        name: its path below the input, with archives as folders.
        size: in bytes.
        path: the file on disk, or the zip on disk that contains it.
        member: its name in that zip.
        content: the bytes, for members of archives that are read sequentially.
    """

    name: str
    size: int
    path: str = ""
    member: str = ""
    content: bytes | None = None

    @property
    def is_archive(self) -> bool:
        """Return whether the name is that of an archive."""
        return ARCHIVES.search(self.name) is not None


def list_files(top: Path) -> Iterator[InputFile]:
    """Yield the files of a folder, depth first, sorted by name; or `top` itself, if it is a file.

    Raises:
        UserError: there is no such file, or it cannot be listed.
    """
    try:
        root = top.resolve(strict=True)
        yield from _walk(str(root), root.name or "root", 0)
    except OSError as error:
        raise UserError(f"--input {top}: cannot be read: {error.strerror or error}") from None


def _walk(path: str, name: str, depth: int) -> Iterator[InputFile]:
    if depth > _MAX_FOLDER_DEPTH:
        raise UserError(f"{path}: folders nested more than {_MAX_FOLDER_DEPTH} deep; check for cyclic links")
    if os.path.isdir(path):  # noqa: PTH112 - millions of calls
        for child in sorted(os.listdir(path), key=natural_key):  # noqa: PTH208 - names alone
            yield from _walk(f"{path}/{child}", f"{name}/{child}", depth + 1)
    elif _UNSUPPORTED.search(path):
        raise _unsupported(path)
    else:
        status = os.stat(path)  # noqa: PTH116 - likewise
        if stat.S_ISREG(status.st_mode):
            yield InputFile(name, status.st_size, path)


def read(source: InputFile, limit: int, password: str | None = None) -> bytes:
    """Return the content of a file, at most `limit` + 1 bytes.

    Raises:
        DamagedError: it cannot be read.
        UserError: the password is missing or wrong.
    """
    with open_input(source, password) as file:
        return file.read(limit + 1)


@contextmanager
def open_input(source: InputFile, password: str | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading; read errors inside the `with` block raise `DamagedError`.

    Raises:
        DamagedError: it cannot be read.
        UserError: the password is missing or wrong.
    """
    with _damage_raises(source.name):
        if source.content is not None:
            yield io.BytesIO(source.content)
        elif not source.member:
            with Path(source.path).open("rb") as file:
                yield file
        else:
            archive = _zip(source.path)
            with _member(archive, archive.getinfo(source.member), source.name, password) as inner:
                yield inner


def members(archive: InputFile, password: str | None, wanted: Callable[[str], bool]) -> Iterator[InputFile]:
    """Yield the files of an archive: those of a zip sorted by name, those of a tar in stored order with their content.

    Args:
        archive: a zip, or a tar with or without compression.
        password: for encrypted zips.
        wanted: returns whether the file of a name is needed; the others are not read.

    Raises:
        DamagedError: the archive is truncated, damaged, or no archive.
        UserError: an unsafe member, a file that is too large for memory, a password that is missing or wrong.
    """
    if archive.name.lower().endswith(".zip"):
        yield from _zip_members(archive, password, wanted)
    else:
        with open_input(archive, password) as file:
            yield from _tar_members(archive, file, wanted)


def _zip_members(archive: InputFile, password: str | None, wanted: Callable[[str], bool]) -> Iterator[InputFile]:
    is_on_disk = archive.content is None and not archive.member
    content = b"" if is_on_disk else read(archive, MAX_IN_MEMORY_BYTES, password)
    if len(content) > MAX_IN_MEMORY_BYTES:
        raise UserError(f"{archive.name}: a zip in an archive, too large to be read in memory; unpack it first")
    with _damage_raises(archive.name):
        zip_file = _zip(archive.path) if is_on_disk else zipfile.ZipFile(io.BytesIO(content))
    found = []
    for info in zip_file.infolist():
        name = _safe_name(archive.name, info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive.name, info.filename, "a link or a device")
        if _UNSUPPORTED.search(name):
            raise _unsupported(f"{archive.name}/{name}")
        if not info.is_dir() and wanted(f"{archive.name}/{name}"):
            found.append((name, info))
    _try_password(zip_file, [info for _, info in found], archive.name, password)
    for name, info in sorted(found, key=lambda pair: natural_key(pair[0])):
        if is_on_disk:
            yield InputFile(f"{archive.name}/{name}", info.file_size, archive.path, info.filename)
        else:
            with _damage_raises(archive.name), _member(zip_file, info, f"{archive.name}/{name}", password) as file:
                member = file.read(MAX_IN_MEMORY_BYTES + 1)
            if len(member) > MAX_IN_MEMORY_BYTES:
                raise UserError(f"{archive.name}/{name}: too large to be read in memory; unpack {archive.name} first")
            yield InputFile(f"{archive.name}/{name}", info.file_size, content=member)


class _BoundedReader(io.RawIOBase):
    """A stream that keeps its last bytes, because tarfile accepts a tar that is truncated at a header.

    It raises an error after a given number of bytes, as a defence against decompression bombs.
    """

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._left = limit
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError("it expands to far more than its size")
        self.tail = (self.tail + content[-1024:])[-1024:]
        return content

    def drain(self) -> None:
        while self.read(2**20):
            pass


def _tar_members(archive: InputFile, file: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[InputFile]:
    name = archive.name
    plain = file if hasattr(file, "peek") else io.BufferedReader(file)  # type: ignore[type-var]
    opener = _OPENERS.get(plain.peek(2)[:2])
    reader = _BoundedReader(
        opener(plain) if opener else plain, _MAX_EXPANSION_FACTOR * archive.size + _MAX_EXPANSION_BYTES
    )
    with tarfile.open(fileobj=reader, mode="r|") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header in memory
            inner = _safe_name(name, info.name)
            if info.isdir():
                continue
            if not info.isreg():
                raise _unsafe(name, info.name, "a link or a device")
            if _UNSUPPORTED.search(inner):
                raise _unsupported(f"{name}/{inner}")
            if wanted(f"{name}/{inner}"):
                if info.size > MAX_IN_MEMORY_BYTES:
                    raise UserError(f"{name}/{inner}: too large to be read in memory; unpack {name} first")
                extracted = tar.extractfile(info)
                assert extracted is not None
                yield InputFile(f"{name}/{inner}", info.size, content=extracted.read())
    reader.drain()  # so that the checksum at the end is verified
    if reader.tail != bytes(1024):
        raise tarfile.ReadError("it is truncated")


@lru_cache(maxsize=2)
def _zip_of(path: str, size: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _zip(path: str) -> zipfile.ZipFile:
    status = os.stat(path)  # noqa: PTH116 - called for each picture
    return _zip_of(path, status.st_size, status.st_mtime_ns)


@contextmanager
def _member(zip_file: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, password: str | None) -> Iterator[IO[bytes]]:
    if info.compress_type == _AES_METHOD:
        raise UserError(
            f"{name}: AES encryption is not supported; unpack the archive (7z x) and give the folder as --input"
        )
    encrypted = info.flag_bits & 1
    if encrypted and not password:
        raise UserError(f"{name} is encrypted: set DYGAIT_PASSWORD or give --password, as the dataset's owners gave it")
    try:
        file = zip_file.open(info, pwd=password.encode() if encrypted and password else None)
    except NotImplementedError:
        raise UserError(f"{name}: compressed with an unsupported method; unpack it and give the folder") from None
    except RuntimeError:
        raise _wrong_password(name) from None
    with file:
        yield file


def _try_password(zip_file: zipfile.ZipFile, infos: list[zipfile.ZipInfo], name: str, password: str | None) -> None:
    """Check the password by reading the smallest encrypted member, up to its checksum."""
    encrypted = [info for info in infos if info.flag_bits & 1 and info.file_size]
    if not encrypted:
        return
    smallest = min(encrypted, key=lambda info: info.file_size)
    try:
        with _member(zip_file, smallest, name, password) as file:
            head = file.read(2**20)
    except UserError:
        raise
    except _DAMAGE:
        raise _wrong_password(name) from None
    # The checksum of a large member is not reached; one wrong password in 256 gets here and is found by the header.
    if re.search(r"gz$", smallest.filename, re.IGNORECASE) and not head.startswith(b"\x1f\x8b"):
        raise _wrong_password(name)


def _unsupported(name: str) -> UserError:
    return UserError(f"{name}: this archive format is not supported; unpack it (7z x) and give the folder as --input")


def _wrong_password(name: str) -> UserError:
    return UserError(
        f"{name}: the password does not open it (or the file is damaged): check DYGAIT_PASSWORD or --password, or "
        "download the archive again"
    )


@contextmanager
def _damage_raises(name: str) -> Iterator[None]:
    """Turn the errors of reading a damaged file into a `DamagedError`."""
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        what = getattr(error, "strerror", None) or str(error) or "it is truncated"
        raise DamagedError(
            f"{name}: truncated, damaged or no archive ({what}): download it again, then run the same command"
        ) from None


def _unsafe(archive: str, member: str, why: str) -> UserError:
    return UserError(
        f"{archive}: unsafe, its member {member!r} is {why}; get the archive from the dataset's owners, or unpack "
        "and inspect it yourself, and give the folder"
    )


def _safe_name(archive: str, member: str) -> str:
    """Return a member's name with forward slashes; raise `UserError` if it leads out of the archive's folder."""
    name = member.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _unsafe(archive, member, "an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _unsafe(archive, member, "a path out of its folder")
    return "/".join(parts)
