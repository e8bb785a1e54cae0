"""The output folder of a run, and the record of its configuration, versions and machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import dygait
from dygait import distributed
from dygait.config import Config, save_config
from dygait.errors import UserError
from dygait.files import write_atomically, write_errors
from dygait.machine import is_running


class RunFolder:
    """`<output>/<dataset_name>/<model>/<save_name>`; the names of checkpoints begin with `save_name`."""

    def __init__(self, root: Path, save_name: str) -> None:
        self.root, self.save_name = root, save_name
        self.checkpoints = root / "checkpoints"  # and test results
        self.summary = root / "summary"  # TensorBoard's files
        self.features = root / "features"  # of tests, a folder for each
        self.logs = root / "logs"  # log files, events, the resolved configuration and the record of the run

    def create(self) -> None:
        """Create the folders; `UserError` if that fails."""
        try:
            for folder in (self.checkpoints, self.summary, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the output folder {self.root} cannot be created: {error}; choose another with --output"
            ) from None


def run_folder(output: str | Path, config: Config, save_name: str) -> RunFolder:
    """Return the folder of a run, without creating it."""
    return RunFolder(Path(output) / config.data_cfg.dataset_name / config.model_cfg.model / save_name, save_name)


def remove_unfinished(*folders: Path) -> list[Path]:
    """Delete the temporary files of killed processes in some folders, and return their paths.

    Files are first written to `.<name>.<process id>` (`dygait.files`). Those of other processes that are running on
    this machine are kept.
    """
    pattern = re.compile(r"\..+\.(?:pt|json|jsonl|csv)\.(\d+)")
    unfinished = [
        path
        for folder in folders
        for path in folder.glob(".*")
        # In a container, this process may have the id of the killed one.
        if (match := pattern.fullmatch(path.name)) and (int(match[1]) == os.getpid() or not is_running(int(match[1])))
    ]
    for path in unfinished:
        path.unlink(missing_ok=True)
    return unfinished


def now() -> str:
    """Return the time in the format of events."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Append a JSON line to a file, on a new line even after an incomplete line."""
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        at_line_start = not end or file.read() == b"\n"
        # A single write, so that earlier lines cannot be damaged.
        file.write((b"" if at_line_start else b"\n") + json.dumps(entry).encode() + b"\n")


def writing(folder: RunFolder) -> AbstractContextManager[None]:
    """Convert an OSError within a `with` block to a `UserError` that says how to continue the run."""
    remedy = "free disk space, or make it writable, and continue with --resume: the checkpoints are kept"
    return write_errors(f"the run's folder {folder.root}", remedy)


def git_state() -> dict[str, Any]:
    """Return the commit of the source tree, and whether it has local changes; empty outside a git checkout."""
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
"""Environment variables that affect results or speed; others are not recorded, since they may be secrets."""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def record_run(folder: RunFolder, phase: str, config: Config, device: torch.device, data: dict[str, Any]) -> None:
    """Write the record of a run, on rank 0: configuration, versions, commit, data fingerprint, machine, command."""
    if not distributed.is_main():
        return
    entry = {
        "phase": phase,
        "time": now(),
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
        "code": {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in config.custom_imports},
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processes": distributed.world_size(),
    }
    with writing(folder):
        save_config(config, folder.logs / f"config_{phase}.yaml")
        write_atomically(folder.logs / f"run_{phase}.json", json.dumps(entry, indent=2) + "\n")
