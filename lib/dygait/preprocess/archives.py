"""Reading folders and archives within archives, without unpacking anything to disk.

A member that would leave its folder, a link or a device makes the whole archive suspect and is refused. A truncated or
damaged archive raises `DamagedError` at the latest at its end, never ends early in silence.
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
from dygait.preprocess.layout import ARCHIVES, in_order

LARGEST_INNER = 64 * 2**20
"""Bytes of the largest archive that is held in memory at once."""

_FOREIGN = re.compile(r"\.(7z|rar)$", re.IGNORECASE)
_DEEPEST_FOLDER = 12
# Whatever the readers of archives raise over bytes that make no sense, as they were not written to be exhaustive.
_DAMAGE = (
    ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, ValueError, lzma.LZMAError, struct.error,
    tarfile.TarError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_UNFOLDS = 100
_ALWAYS = 2**30
"""A compressed tar may unfold to so many times its size and so many bytes more; tars of pictures do to ten times."""
_AES = 99
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}


class DamagedError(UserError):
    """An archive that cannot be read to its end; others may be."""


@dataclass(frozen=True)
class Blob:
    """A file, wherever it lies.

    Attributes:
        name: its path as the user would say it: the input's name, archives counted as folders, members.
        size: its bytes.
        path: the file on disk, or the zip on disk that it lies in.
        member: its name in that zip.
        content: the bytes themselves, when they lie in something that can be read only once.
    """

    name: str
    size: int
    path: str = ""
    member: str = ""
    content: bytes | None = None

    @property
    def is_archive(self) -> bool:
        """Tell whether the name is one of an archive."""
        return ARCHIVES.search(self.name) is not None


def files_below(top: Path) -> Iterator[Blob]:
    """Yield the files of a folder, depth first, in order of their names; or the one file that `top` is.

    Raises:
        UserError: there is no such file, or it cannot be listed.
    """
    try:
        root = top.resolve(strict=True)
        yield from _below(str(root), root.name or "root", 0)
    except OSError as error:
        raise UserError(f"--input {top}: cannot be read: {error.strerror or error}") from None


def _below(path: str, name: str, depth: int) -> Iterator[Blob]:
    if depth > _DEEPEST_FOLDER:
        raise UserError(f"{path}: folders nested more than {_DEEPEST_FOLDER} deep; is there a link that leads back?")
    if os.path.isdir(path):  # noqa: PTH112 - millions of calls
        for child in sorted(os.listdir(path), key=in_order):  # noqa: PTH208 - names alone
            yield from _below(f"{path}/{child}", f"{name}/{child}", depth + 1)
    elif _FOREIGN.search(path):
        raise _foreign(path)
    else:
        status = os.stat(path)  # noqa: PTH116 - likewise
        if stat.S_ISREG(status.st_mode):
            yield Blob(name, status.st_size, path)


def read(blob: Blob, limit: int, password: str | None = None) -> bytes:
    """Return the bytes of a file, `limit` + 1 of them at most.

    Raises:
        DamagedError: it cannot be read.
        UserError: the password is missing or wrong.
    """
    with opened(blob, password) as file:
        return file.read(limit + 1)


@contextmanager
def opened(blob: Blob, password: str | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading from its start; what goes wrong in the block with its bytes is reported as damage.

    Raises:
        DamagedError: it cannot be read.
        UserError: the password is missing or wrong.
    """
    try:
        if blob.content is not None:
            yield io.BytesIO(blob.content)
        elif not blob.member:
            with Path(blob.path).open("rb") as file:
                yield file
        else:
            archive = _zip(blob.path)
            with _member(archive, archive.getinfo(blob.member), blob.name, password) as inner:
                yield inner
    except UserError:
        raise
    except _DAMAGE as error:
        raise _damaged(blob.name, error) from None


def members(archive: Blob, password: str | None, wanted: Callable[[str], bool]) -> Iterator[Blob]:
    """Yield the files in an archive: of a zip in order of their names and unread, of a tar as they come, with content.

    Args:
        archive: a zip, or a tar with or without compression.
        password: for encrypted zips.
        wanted: tells by name which files are needed; of a tar only those are read.

    Raises:
        DamagedError: the archive is truncated, damaged, or no archive.
        UserError: an unsafe member, a file that is too large to be held, a password that is missing or wrong.
    """
    if archive.name.lower().endswith(".zip"):
        yield from _zip_members(archive, password, wanted)
    else:
        with opened(archive, password) as file:
            yield from _tar_members(archive, file, wanted)


def _zip_members(archive: Blob, password: str | None, wanted: Callable[[str], bool]) -> Iterator[Blob]:
    lies_in_file = archive.content is None and not archive.member
    content = None
    if lies_in_file:
        try:
            book = _zip(archive.path)
        except _DAMAGE as error:
            raise _damaged(archive.name, error) from None
    else:
        content = read(archive, LARGEST_INNER, password)
        if len(content) > LARGEST_INNER:
            raise UserError(f"{archive.name}: a zip in an archive, too large to be read in place; unpack it first")
        try:
            book = zipfile.ZipFile(io.BytesIO(content))
        except _DAMAGE as error:
            raise _damaged(archive.name, error) from None
    found = []
    for info in book.infolist():
        name = _safe(archive.name, info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive.name, info.filename, "a link or a device")
        if _FOREIGN.search(name):
            raise _foreign(f"{archive.name}/{name}")
        if not info.is_dir() and wanted(f"{archive.name}/{name}"):
            found.append((name, info))
    _try_password(book, [info for _, info in found], archive.name, password)
    for name, info in sorted(found, key=lambda pair: in_order(pair[0])):
        if lies_in_file:
            yield Blob(f"{archive.name}/{name}", info.file_size, archive.path, info.filename)
        else:
            try:
                with _member(book, info, f"{archive.name}/{name}", password) as file:
                    held = file.read(LARGEST_INNER + 1)
            except UserError:
                raise
            except _DAMAGE as error:
                raise _damaged(archive.name, error) from None
            if len(held) > LARGEST_INNER:
                raise UserError(f"{archive.name}/{name}: too large to be read in place; unpack {archive.name} first")
            yield Blob(f"{archive.name}/{name}", info.file_size, content=held)


class _Watched(io.RawIOBase):
    """A stream that remembers how it ended, for tarfile takes a tar that breaks off at a header for a whole one.

    It ends with an error once it has given so many bytes: a few of zeros, compressed, unfold to a whole night's work.
    """

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file = file
        self._left = most
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.ReadError("it unfolds to far more than its size")
        self.tail = (self.tail + content[-1024:])[-1024:]
        return content

    def drain(self) -> None:
        while self.read(2**20):
            pass


def _tar_members(archive: Blob, file: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[Blob]:
    name = archive.name
    plain = file if hasattr(file, "peek") else io.BufferedReader(file)  # type: ignore[type-var]
    opener = _OPENERS.get(plain.peek(2)[:2])
    watched = _Watched(opener(plain) if opener else plain, _UNFOLDS * archive.size + _ALWAYS)
    with tarfile.open(fileobj=watched, mode="r|") as tar:
        while (info := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep the header of every file
            inner = _safe(name, info.name)
            if info.isdir():
                continue
            if not info.isreg():
                raise _unsafe(name, info.name, "a link or a device")
            if _FOREIGN.search(inner):
                raise _foreign(f"{name}/{inner}")
            if wanted(f"{name}/{inner}"):
                if info.size > LARGEST_INNER:
                    raise UserError(f"{name}/{inner}: too large to be read in place; unpack {name} first")
                held = tar.extractfile(info)
                assert held is not None
                yield Blob(f"{name}/{inner}", info.size, content=held.read())
    watched.drain()  # so that the checksum at the end is looked at
    if watched.tail != bytes(1024):
        raise tarfile.ReadError("it breaks off before its end")


@lru_cache(maxsize=2)
def _zip_of(path: str, size: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _zip(path: str) -> zipfile.ZipFile:
    status = os.stat(path)  # noqa: PTH116 - once for each picture
    return _zip_of(path, status.st_size, status.st_mtime_ns)


@contextmanager
def _member(book: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, password: str | None) -> Iterator[IO[bytes]]:
    if info.compress_type == _AES:
        raise UserError(
            f"{name}: encrypted with AES, which is not read; unpack the archive (7z x) and give the folder as --input"
        )
    encrypted = info.flag_bits & 1
    if encrypted and not password:
        raise UserError(f"{name} is encrypted: set DYGAIT_PASSWORD or give --password, as the dataset's owners gave it")
    try:
        file = book.open(info, pwd=password.encode() if encrypted and password else None)
    except NotImplementedError:
        raise UserError(f"{name}: compressed in a way that is not read; unpack it and give the folder") from None
    except RuntimeError:
        raise _wrong_password(name) from None
    with file:
        yield file


def _try_password(book: zipfile.ZipFile, infos: list[zipfile.ZipInfo], name: str, password: str | None) -> None:
    """Try the password on the smallest encrypted member, whose checksum tells."""
    encrypted = [info for info in infos if info.flag_bits & 1 and info.file_size]
    if not encrypted:
        return
    smallest = min(encrypted, key=lambda info: info.file_size)
    try:
        with _member(book, smallest, name, password) as file:
            head = file.read(2**20)
    except UserError:
        raise
    except _DAMAGE:
        raise _wrong_password(name) from None
    # Of a large one the checksum is far away; one wrong password in 256 gets here, but not past this.
    if re.search(r"gz$", smallest.filename, re.IGNORECASE) and not head.startswith(b"\x1f\x8b"):
        raise _wrong_password(name)


def _foreign(name: str) -> UserError:
    return UserError(f"{name}: this kind of archive is not read; unpack it (7z x) and give the folder as --input")


def _wrong_password(name: str) -> UserError:
    return UserError(
        f"{name}: the password does not open it (or the file is damaged): check DYGAIT_PASSWORD or --password, or "
        "download the archive again"
    )


def _damaged(name: str, error: BaseException) -> DamagedError:
    what = getattr(error, "strerror", None) or str(error) or "it breaks off before its end"
    return DamagedError(
        f"{name}: truncated, damaged or no archive ({what}): download it again, then run the same command"
    )


def _unsafe(archive: str, member: str, why: str) -> UserError:
    return UserError(
        f"{archive}: refused, its member {member!r} is {why}; get the archive from the dataset's owners, or unpack it "
        "yourself, look at it, and give the folder"
    )


def _safe(archive: str, member: str) -> str:
    """Return a member's name with plain slashes, if it stays in the archive's folder."""
    name = member.replace("\\", "/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _unsafe(archive, member, "an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _unsafe(archive, member, "a path out of its folder")
    return "/".join(parts)
