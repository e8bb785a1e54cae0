"""The folder of a run: where everything that it makes goes, and the record of what it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import dygait
from dygait import distributed
from dygait.config import Config, save_config
from dygait.errors import UserError
from dygait.files import write_atomically


@dataclass(frozen=True)
class RunFolder:
    """`<output>/<dataset_name>/<model>/<save_name>`.

    Attributes:
        root: the folder.
        save_name: the run's name, the first part of its checkpoints' names.
    """

    root: Path
    save_name: str

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints and test results are."""
        return self.root / "checkpoints"

    @property
    def summary(self) -> Path:
        """Where TensorBoard's files are."""
        return self.root / "summary"

    @property
    def features(self) -> Path:
        """Where the features of tests are, a folder each."""
        return self.root / "features"

    @property
    def logs(self) -> Path:
        """Where log files, the resolved configuration and the record of the run are."""
        return self.root / "logs"

    def create(self) -> None:
        """Make the folders; UserError where that is not allowed."""
        try:
            for folder in (self.checkpoints, self.summary, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the output folder {self.root} cannot be made: {error}; choose another with --output"
            ) from None


def run_folder(output: str | Path, config: Config, save_name: str) -> RunFolder:
    """Return the folder of a run; nothing is made yet."""
    return RunFolder(Path(output) / config.data_cfg.dataset_name / config.model_cfg.model / save_name, save_name)


def remove_unfinished(*folders: Path) -> list[Path]:
    """Delete what processes that were killed have left half-written in some folders; returns what.

    A checkpoint, a result, a record: all are written to `.<name>.<process>` first. What belongs to another process of
    this machine that is there stays.
    """
    pattern = re.compile(r"\..+\.(?:pt|json|jsonl|csv)\.(\d+)")
    left = [
        path
        for folder in folders
        for path in folder.glob(".*")
        if (match := pattern.fullmatch(path.name)) and not _is_another(int(match[1]))
    ]
    for path in left:
        path.unlink(missing_ok=True)
    return left


def _is_another(process: int) -> bool:
    if process == os.getpid():  # in a container a process may have the number of the one before
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # someone else's, but there
    return True


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Add a JSON line to a file. A line that was cut off before stays alone.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        begins = not end or file.read() == b"\n"
        # One write of one line: whatever happens, the lines before stay whole.
        file.write((b"" if begins else b"\n") + json.dumps(entry).encode() + b"\n")


@contextlib.contextmanager
def writing(folder: RunFolder) -> Iterator[None]:
    """Turn a failure to write within a `with` block into an error that says how a run goes on.

    Raises:
        UserError: there is no room in the run's folder, or writing is forbidden.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the run's folder {folder.root} cannot be written: {error}; make room, or make it writable, and go on "
            f"with --resume: the checkpoints in it stay"
        ) from None


def git_state() -> dict[str, Any]:
    """Return the commit of the source tree that runs, and whether it has been changed; empty outside a git checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit, changed = (
            subprocess.run(
                ["git", *command], cwd=here, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "changed": bool(changed)}


_PACKAGES = ("numpy", "pydantic", "opencv-python-headless", "scikit-learn", "tensorboard")
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "DYGAIT_ALLOCATOR", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS", "SLURM_JOB_ID",
)  # fmt: skip
"""What of the environment can change a result or a speed, by name: other variables may be secrets."""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _digest(file: Path) -> str | None:
    """Return the SHA-256 of a file of code that was run; None where it is gone."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def record_run(folder: RunFolder, phase: str, config: Config, device: torch.device, data: dict[str, Any]) -> None:
    """Write, on rank 0, what this run is: resolved configuration, versions, commit, data fingerprint, code, command.

    Raises:
        UserError: it cannot be written.
    """
    if not distributed.is_main():
        return
    entry = {
        "phase": phase,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "dygait": dygait.__version__,
        "git": git_state(),
        "data": data,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "system": platform.platform(),
        "host": platform.node(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "code": {file: _digest(Path(file)) for file in config.custom_imports},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
    }
    with writing(folder):
        save_config(config, folder.logs / f"config_{phase}.yaml")
        write_atomically(folder.logs / f"run_{phase}.json", json.dumps(entry, indent=2) + "\n")
