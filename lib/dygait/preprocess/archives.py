"""Read folders, archives and nested archives without unpacking to disk.

A truncated or damaged archive raises `DamagedError`, at its end at the latest.
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
from dygait.preprocess.rules import natural_key

MAX_IN_MEMORY_BYTES = 64 * 2**20
"""The largest nested archive or tar that is read into memory, in bytes."""

_MAX_FOLDER_DEPTH = 12
# Exceptions that the standard library's archive readers raise for damaged input.
_DAMAGE = (
    ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, ValueError, lzma.LZMAError, struct.error,
    tarfile.TarError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_AES_METHOD = 99
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}


class DamagedError(UserError):
    """An archive that cannot be read to its end; the other inputs are still processed."""


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
    def is_zip_on_disk(self) -> bool:
        """Whether it is a zip whose members can be read in any order."""
        return self.name.lower().endswith(".zip") and self.content is None and not self.member


def list_files(top: Path) -> Iterator[InputFile]:
    """Yield the files of a folder, depth first, sorted by name; or `top` itself, if it is a file."""
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
        return
    _check_supported(path)
    status = os.stat(path)  # noqa: PTH116 - likewise
    if stat.S_ISREG(status.st_mode):
        yield InputFile(name, status.st_size, path)


def read(source: InputFile, limit: int, password: str | None = None) -> bytes:
    """Return the content of a file, at most `limit` + 1 bytes; errors as `members`."""
    with _open(source, password) as file:
        return file.read(limit + 1)


@contextmanager
def _open(source: InputFile, password: str | None) -> Iterator[IO[bytes]]:
    """Open a file for reading; read errors inside the `with` block raise `DamagedError`."""
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


def members(archive: InputFile, password: str | None, is_needed: Callable[[str], bool]) -> Iterator[InputFile]:
    """Yield the files of an archive: of a zip, sorted by name; of a tar, in stored order and with their content.

    A tar may be compressed. Files whose names `is_needed` rejects are not read.

    Raises:
        DamagedError: the archive is truncated, damaged, or no archive.
        UserError: a link or a device, a file that is too large for memory, a password that is missing or wrong.
    """
    if archive.name.lower().endswith(".zip"):
        yield from _zip_members(archive, password, is_needed)
    else:
        with _open(archive, password) as file:
            yield from _tar_members(archive, file, is_needed)


def _zip_members(archive: InputFile, password: str | None, is_needed: Callable[[str], bool]) -> Iterator[InputFile]:
    is_on_disk = archive.is_zip_on_disk
    content = b"" if is_on_disk else read(archive, MAX_IN_MEMORY_BYTES, password)
    _check_size(archive.name, len(content), archive.name)
    with _damage_raises(archive.name):
        zip_file = _zip(archive.path) if is_on_disk else zipfile.ZipFile(io.BytesIO(content))
    entries = []
    for info in zip_file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        name = _member_name(archive.name, info.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        if not info.is_dir() and is_needed(name):
            entries.append((name, info))
    _try_password(zip_file, [info for _, info in entries], archive.name, password)
    for name, info in sorted(entries, key=lambda pair: natural_key(pair[0])):
        if is_on_disk:
            yield InputFile(name, info.file_size, archive.path, info.filename)
        else:
            with _damage_raises(archive.name), _member(zip_file, info, name, password) as file:
                member = file.read(MAX_IN_MEMORY_BYTES + 1)
            _check_size(name, len(member), archive.name)
            yield InputFile(name, info.file_size, content=member)


class _TailReader(io.RawIOBase):
    """A stream that keeps its last bytes, because tarfile accepts a tar that is truncated at a header."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.tail = (self.tail + content[-1024:])[-1024:]
        return content


def _tar_members(archive: InputFile, file: IO[bytes], is_needed: Callable[[str], bool]) -> Iterator[InputFile]:
    name = archive.name
    stream = file if hasattr(file, "peek") else io.BufferedReader(file)  # type: ignore[type-var]
    opener = _OPENERS.get(stream.peek(2)[:2])
    reader = _TailReader(opener(stream) if opener else stream)
    with tarfile.open(fileobj=reader, mode="r|") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header in memory
            member_name = _member_name(name, info.name, info.isdir() or info.isreg())
            if info.isreg() and is_needed(member_name):
                _check_size(member_name, info.size, name)
                extracted = tar.extractfile(info)
                assert extracted is not None
                yield InputFile(member_name, info.size, content=extracted.read())
    while reader.read(2**20):  # so that the checksum at the end is verified
        pass
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
        raise UserError(f"{name}: AES encryption is not supported; unpack the archive (7z x) and give the folder")
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
    """Check the password by reading the smallest encrypted member, up to its checksum unless it is large."""
    encrypted = [info for info in infos if info.flag_bits & 1 and info.file_size]
    if not encrypted:
        return
    smallest = min(encrypted, key=lambda info: info.file_size)
    try:
        with _member(zip_file, smallest, name, password) as file:
            file.read(2**20)
    except UserError:
        raise
    except _DAMAGE:
        raise _wrong_password(name) from None


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
        reason = getattr(error, "strerror", None) or str(error) or "it is truncated"
        raise DamagedError(
            f"{name}: truncated, damaged or no archive ({reason}): download it again, then run the same command"
        ) from None


def _check_size(name: str, size: int, archive: str) -> None:
    if size > MAX_IN_MEMORY_BYTES:
        raise UserError(f"{name}: too large to be read in memory; unpack {archive} first")


def _check_supported(name: str) -> None:
    if re.search(r"\.(7z|rar)$", name, re.IGNORECASE):
        raise UserError(f"{name}: this archive format is not supported; unpack it (7z x) and give the folder")


def _member_name(archive: str, member: str, is_plain: bool) -> str:
    """Return the name of an archive's member, with forward slashes, below the archive's.

    `UserError` if it is a link or a device, or an unsupported archive.
    """
    if not is_plain:
        raise UserError(f"{archive}: its member {member!r} is a link or a device; unpack it, and give the folder")
    parts = member.replace("\\", "/").split("/")
    name = "/".join([archive, *(part for part in parts if part not in ("", "."))])
    _check_supported(name)
    return name
