"""Shared by the scripts: the path of the package, figures and tables, and the dataset of other frameworks."""

from __future__ import annotations

import json
import operator
import os
import pickle
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.data import Dataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "lib"))

if TYPE_CHECKING:
    from dygait.data.dataset import Request


def environment(**more: Any) -> dict[str, Any]:
    """Return processor, threads and versions that figures were measured with, and more keys."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        **more,
    }


def write_figures(path: Path | None, figures: dict[str, Any], **more: Any) -> None:
    """Write figures with their environment as JSON, if there is a path."""
    if path is not None:
        content = {**figures, "environment": environment(**more)}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def markdown_table(rows: Iterable[Sequence[Any]], head: Sequence[str]) -> str:
    """Return a table in Markdown, with unchanged cells."""
    return tabulate(rows, head, tablefmt="github", disable_numparse=True) + "\n"


def ids_between(bounds: str, ids: Iterable[str]) -> list[str]:
    """Return the ids from the first to the last of `FIRST-LAST`, both included."""
    first, _, last = bounds.partition("-")
    return [name for name in ids if first <= name <= last]


def resident_memory(processes: Iterable[int | str]) -> float:
    """Return the resident memory of processes, by their numbers or `self`, in MB; OSError if one has ended."""
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def write_sequence(root: Path, person: str, kind: str, view: str, frames: np.ndarray) -> None:
    """Write frames uint8 (S, H, W) as a sequence of a tree of pickles."""
    folder = root / person / kind / view
    folder.mkdir(parents=True)
    (folder / f"{view}.pkl").write_bytes(pickle.dumps(frames, protocol=4))


def alternate(
    repeats: int, *functions: Callable[[], Any], warm_up: bool = False
) -> tuple[list[list[float]], list[Any]]:
    """Return the seconds of each function in every repeat, and its last result; a warm-up is not counted."""
    seconds: list[list[float]] = [[] for _ in functions]
    results: list[Any] = [None] * len(functions)
    for repeat in range(warm_up + repeats):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            results[number] = function()
            if repeat >= warm_up:
                seconds[number].append(time.perf_counter() - start)
    return seconds, results


def ratio(theirs: Iterable[float], mine: Iterable[float]) -> float:
    """Return the median of the quotients of alternating repeats."""
    return round(statistics.median(map(operator.truediv, theirs, mine)), 2)


class WholePickles(Dataset):
    """The dataset of other frameworks: an item is a complete sequence and its request."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, request: Request) -> tuple[np.ndarray, Request]:
        with open(self.paths[request.sequence], "rb") as file:  # noqa: PTH123 - as the others do
            return pickle.load(file), request
