"""A gallery on disk: a folder with a subfolder for each person, which has one file for each enrolment.

    people/gallery.json                    the weights, windows and distance of all features
    people/calibration.safetensors         distances between people of a labelled dataset
    people/Ada/5f0c1b....safetensors       one enrolment: features (n, C, P) of n windows

An enrolment is a new file, written under a temporary name and renamed, so that several processes can enrol at the same
time without a lock, and a process that is killed leaves no partial file. A person's folder is renamed before its files
are deleted, so that forgetting a person is atomic. The modification time of the folder changes whenever somebody is
enrolled or forgotten.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dygait import untrusted
from dygait.data.sequences import check_name
from dygait.errors import UserError
from dygait.files import replacing, write_atomically, write_errors

SETTINGS, CALIBRATION = "gallery.json", "calibration.safetensors"
_SUFFIX = ".safetensors"
_FORMAT, _VERSION = "DyGait gallery", 1
_FORGOTTEN = ".forgotten-"


@dataclass(frozen=True)
class GallerySettings:
    """The weights, distance and windows, which are the same for all features of a gallery."""

    weights: str  # name of the weights: `syngait`, or a file
    identity: str  # hash of the weights
    metric: str  # distance, euc or cos
    window: int  # frames of a window
    step: int  # frames from one window to the next


class MissingFileError(UserError):
    """A file of a gallery does not exist any more: somebody was forgotten while the gallery was read."""


class Enrolment(NamedTuple):
    """The content of one file."""

    features: np.ndarray  # float32 (n, C, P) of n windows
    silhouettes: np.ndarray | None  # uint8 (n, F, H, W), some frames of each window, if they were stored


class GalleryFolder:
    """The files of a gallery; the folder need not exist."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def exists(self) -> bool:
        """Return whether the gallery exists; UserError if there is something else at its path."""
        if (self.root / SETTINGS).is_file():
            return True
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise UserError(f"{self.root} is not a gallery (it has no {SETTINGS}): name another folder")
        return False

    def settings(self) -> GallerySettings:
        """Return the settings; UserError if they cannot be read."""
        path = self.root / SETTINGS
        try:
            content = untrusted.parse_json(untrusted.read_bytes(path))
            form, version = content.pop("format"), content.pop("version")
            if (form, version) != (_FORMAT, _VERSION):
                raise ValueError(f"format {form!r}, version {version!r}; this DyGait reads {_FORMAT} {_VERSION}")
            return GallerySettings(**content)
        except FileNotFoundError:
            raise UserError(f"{self.root}: there is no such gallery; `dygait enroll` makes one") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is damaged: {error}; restore it from a copy") from None

    def create(self, settings: GallerySettings) -> GallerySettings:
        """Create the gallery unless another process has just created it; return the settings on disk."""
        with write_errors(self.root):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.root.with_name(f".{self.root.name}.{secrets.token_hex(4)}")
            temporary.mkdir()
            try:
                content = {"format": _FORMAT, "version": _VERSION, **asdict(settings)}
                write_atomically(temporary / SETTINGS, json.dumps(content, indent=2))
                with contextlib.suppress(OSError):
                    temporary.rename(self.root)  # atomic; fails if there is a gallery
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return self.settings()

    def state(self) -> int:
        """Return a number that changes when somebody is enrolled or forgotten; 0 without a gallery."""
        return self.root.stat().st_mtime_ns if self.root.exists() else 0

    def people(self) -> dict[str, list[Path]]:
        """Return name -> files of the enrolments, both sorted; empty without a gallery."""
        if not self.root.is_dir():
            return {}
        self._delete_forgotten()
        people = {}
        for folder in sorted(p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")):
            files = sorted(p for p in folder.glob(f"*{_SUFFIX}") if not p.name.startswith("."))
            if files:
                people[unicodedata.normalize("NFC", folder.name)] = files
        return people

    def add(
        self, name: str, features: np.ndarray, settings: GallerySettings, silhouettes: np.ndarray | None = None
    ) -> Path:
        """Write one enrolment of a person, float32 (n, C, P), atomically.

        Raises:
            UserError: the name cannot be the name of a folder, or the file cannot be written.
        """
        folder = self.person(name)
        tensors = {"features": np.ascontiguousarray(features, np.float32)}
        if silhouettes is not None:
            tensors["silhouettes"] = np.ascontiguousarray(silhouettes, np.uint8)
        path = folder / f"{secrets.token_hex(8)}{_SUFFIX}"
        with write_errors(self.root):
            folder.mkdir(exist_ok=True)
            try:
                write_tensors(path, tensors, {"weights": settings.identity})
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # if it was created for this enrolment
                raise
            self._update_time()
        return path

    def count(self, path: Path) -> int:
        """Return the number of windows of an enrolment without reading its features; errors as in `read`."""
        with _open(path) as file:
            return int(file.get_slice("features").get_shape()[0])

    def read(self, path: Path, settings: GallerySettings, verify: bool = False) -> Enrolment:
        """Read an enrolment; compare its checksum if `verify`.

        Raises:
            UserError: it is damaged, or its features are of other weights.
        """
        tensors, metadata = read_tensors(path, verify)
        features = tensors.get("features")
        if features is None or features.ndim != 3 or features.dtype != np.float32 or not np.isfinite(features).all():
            raise UserError(f"{path} is damaged: it holds no features (n, C, P); remove it, and enrol again")
        if metadata.get("weights") != settings.identity:
            raise UserError(
                f"{path} was enrolled with other weights ({str(metadata.get('weights'))[:12]}) than the gallery "
                f"({settings.identity[:12]}); remove it, and enrol again"
            )
        return Enrolment(features, tensors.get("silhouettes"))

    def forget(self, name: str) -> int:
        """Delete all enrolments of a person, and return their number; UserError if nobody has the name."""
        folder = self.person(name)
        with write_errors(self.root):
            count = len(list(folder.glob(f"[!.]*{_SUFFIX}"))) if folder.is_dir() else 0
            hidden = self.root / f"{_FORGOTTEN}{secrets.token_hex(8)}"
            try:
                folder.rename(hidden)
            except FileNotFoundError:
                raise UserError(
                    f"{self.root}: nobody is enrolled as {name!r}; `dygait gallery list {self.root}` shows everybody"
                ) from None
            self._update_time()
            shutil.rmtree(hidden, ignore_errors=True)  # another process may be deleting it too
            if hidden.exists():
                raise OSError(f"{hidden} cannot be deleted")
        return count

    def problems(self, settings: GallerySettings) -> Iterator[str]:
        """Yield a message for every file that is damaged, left over, or of other weights."""
        for name, files in self.people().items():
            shapes = set()
            for path in files:
                try:
                    shapes.add(self.read(path, settings, verify=True).features.shape[1:])
                except UserError as error:
                    yield str(error)
            if len(shapes) > 1:
                yield f"{name}: features of different sizes {sorted(shapes)}; forget {name}, and enrol again"
        for path in sorted(self.root.rglob(".*")):
            yield f"{path} is left over from a process that was killed; remove it if no process is writing"

    def person(self, name: str) -> Path:
        """Return the folder of a person; UserError if the name cannot be the name of a folder."""
        name = unicodedata.normalize("NFC", name)
        check_name(name, "NAME")
        if name.startswith(".") or name in (SETTINGS, CALIBRATION):
            raise UserError(f"NAME: {name!r} is not a name that a gallery can hold: choose another")
        return self.root / name

    def _update_time(self) -> None:
        now = time.time_ns()  # finer than the file system's clock
        os.utime(self.root, ns=(now, now))

    def _delete_forgotten(self) -> None:
        """Delete people whose deletion was interrupted because a process was killed."""
        for folder in self.root.glob(f"{_FORGOTTEN}*"):
            shutil.rmtree(folder, ignore_errors=True)


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and metadata as a safetensors file, atomically: an OSError leaves no file."""
    with replacing(path) as file:
        file.write(save(tensors, {**metadata, "checksum": _checksum(tensors)}))


def read_tensors(path: Path, verify: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a file of `write_tensors`; compare its checksum if `verify`. UserError if the file is damaged."""
    with _open(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
        metadata = dict(file.metadata() or {})
    if verify and metadata.get("checksum") != _checksum(tensors):
        raise UserError(f"{path} is damaged: its checksum differs; remove it, and enrol again")
    return tensors, metadata


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "np") as file:
            yield file
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist any more; run again") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged: {error}; remove it, and enrol again") from None


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    value = 0
    for name, array in sorted(tensors.items()):
        value = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return f"{value:08x}"
