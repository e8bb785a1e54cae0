"""Faults injected into runs: each run is a separate process, in which a fault strikes at a given iteration or time.

The process is a fork of the test's, which has imported everything: it starts at once, and can be killed, run out of
disk space or lose its data without harm to the test. The environment variable `DYGAIT_FAULTS=long` adds many cases.
"""

import ctypes
import faulthandler
import gc
import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # for FakeTensorMode; these imports take two seconds, here once and not in every fork
import torch.utils.tensorboard
import torchvision  # noqa: F401

from dygait import cli, machine
from dygait.training.trainer import Trainer
from helpers.experiments import Experiment

LONG = os.environ.get("DYGAIT_FAULTS") == "long"
"""Whether to test the same faults in more cases."""

ITERATIONS = 12
SETTINGS = (
    f"trainer_cfg.total_iter={ITERATIONS}",
    "trainer_cfg.save_iter=2",
    "trainer_cfg.log_iter=1",
    "trainer_cfg.ema=0.9",
    "trainer_cfg.max_skipped=3",
)

PATIENCE = 60.0
"""Seconds after which a run counts as hanging."""

Action = Callable[[], Any]


@dataclass
class Run:
    """The process of a run, and the file of its output."""

    process: ForkProcess
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit code; a run that does not end in time fails the test."""
        self.process.join(max(0.0, seconds))
        if self.process.is_alive():
            self.send(signal.SIGABRT)  # faulthandler prints the stack
            self.process.join(5)
            self.process.kill()
            pytest.fail(f"the run hangs; it output:\n{self.output}")
        return self.process.exitcode


def launch(
    experiment: Experiment,
    *settings: str,
    phase: str = "train",
    options: Sequence[str] = (),
    at: Mapping[int, Action] | None = None,
    before: Action | None = None,
    after: Action | None = None,
) -> Run:
    """Train or test in a separate process, on one thread.

    The process calls `before` first, `at[n]` after iteration n, and `after` last, also if the run fails.
    """
    experiment.output.mkdir(parents=True, exist_ok=True)
    log = experiment.output / f"output-{time.monotonic_ns()}.txt"

    def work() -> None:
        gc.freeze()  # garbage collection would copy all pages shared with the parent
        log_file = log.open("w", buffering=1, encoding="utf-8")
        for stream in (1, 2):
            os.dup2(log_file.fileno(), stream)
        sys.stdout = sys.stderr = log_file
        faulthandler.disable()  # that of pytest
        machine.available_cores = lambda: 1  # type: ignore[assignment]
        _act_at(at or {})
        if before is not None:
            before()
        try:
            code = cli.runner([*experiment.arguments(phase, *settings), *options])
        finally:
            if after is not None:
                after()
        sys.exit(code)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return Run(process, log)


def _act_at(actions: Mapping[int, Action]) -> None:
    step = Trainer.step

    def acting(self: Trainer, *arguments: Any) -> Any:
        if self.iteration in actions:
            actions[self.iteration]()
        return step(self, *arguments)

    Trainer.step = acting  # type: ignore[method-assign]


def wait_until(condition: Callable[[], Any], run: Run) -> None:
    """Wait until a condition is true or the run has ended."""
    limit = time.monotonic() + PATIENCE
    while not condition() and run.process.is_alive():
        assert time.monotonic() < limit, run.output
        time.sleep(0.0005)


def iterations_done(experiment: Experiment) -> int:
    """Return the number of iterations that a run has logged."""
    path = experiment.folder / "logs" / "scalars.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def events(experiment: Experiment, kind: str) -> list[dict[str, Any]]:
    """Return a run's events of one kind."""
    lines = (experiment.folder / "logs" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def unfinished_files(experiment: Experiment) -> list[str]:
    """Return the names of the partially written files in a run's folder."""
    return sorted(p.name for p in experiment.folder.rglob(".*") if p.is_file())


def assert_same_end(first: Experiment, second: Experiment, iteration: int = ITERATIONS) -> None:
    """Check that two runs have the same final state, bit for bit, and have logged the same statistics."""
    states = [e.checkpoint(iteration) for e in (first, second)]
    for part in ("model", "ema", "optimizer", "scheduler", "guard", "iteration"):
        torch.testing.assert_close(*(state[part] for state in states), rtol=0, atol=0)
    assert first.scalars() == second.scalars()


def assert_resumes(experiment: Experiment, uninterrupted: Experiment, *settings: str) -> Run:
    """Check that the same command with `--resume` ends like the run without a fault and leaves no partial file."""
    run = launch(experiment, *(settings or SETTINGS), options=("--resume",))
    assert run.wait() == 0, run.output
    assert unfinished_files(experiment) == []
    assert_same_end(experiment, uninterrupted)
    return run


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a checkpoint's content as a crash, a full disk or a bad sector may damage it, each with a description.

    Damage to a record is tried on every tenth record only, unless `LONG` is set.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries, directory = archive.infolist(), archive.start_dir
    yield "empty", b""
    yield "cut in the first header", content[:10]
    starts = []
    for entry in entries:
        name, extra = (int.from_bytes(content[entry.header_offset + offset :][:2], "little") for offset in (26, 28))
        starts.append((entry, entry.header_offset + 30 + name + extra))
    chosen = range(0, len(entries), 1 if LONG else 10)
    for entry, start in (starts[i] for i in chosen):
        yield "cut in a record", content[: start + entry.file_size // 2]
    yield "cut before the directory", content[:directory]
    yield "cut in the directory", content[: (directory + len(content) - 22) // 2]
    yield "cut before the end record", content[:-22]
    yield "cut by one byte", content[:-1]
    for share in (0.25, 0.5, 0.75):
        size = int(share * len(content))
        yield "the rest is zeros", content[:size] + bytes(len(content) - size)
    for entry, start in (starts[i] for i in chosen):
        if entry.file_size:
            yield "one bit of a record flipped", _flipped(content, start + entry.file_size // 2)
    for number in chosen:
        # The checksum of each record in the directory, whose entries have no fixed length.
        position = directory
        for entry in entries[:number]:
            position += 46 + len(entry.filename.encode()) + len(entry.extra) + len(entry.comment)
        yield "one bit of a checksum flipped", _flipped(content, position + 16)
    for rubbish in (b"\0", b"garbage", bytes(4096), content[:1000]):
        yield "rubbish appended", content + rubbish
    yield "rubbish in front", b"garbage" + content
    yield "something else", b"not a checkpoint at all\n" * 400


def _flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


# Faults of the environment: functions that are called in the process of a run.

_NEW_MOUNTS, _NEW_USER, _PRIVATE = 0x00020000, 0x10000000, 0x44000  # CLONE_NEWNS, CLONE_NEWUSER, MS_REC | MS_PRIVATE
NO_MOUNT = 77
"""The exit code of a run that is not allowed to mount a small disk."""


def small_disk(folder: Path, size: int) -> None:
    """Mount a disk of `size` bytes on a folder, seen by this process alone; exit with `NO_MOUNT` if not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_MOUNTS):
        if libc.unshare(_NEW_MOUNTS | _NEW_USER):
            os._exit(NO_MOUNT)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    folder.mkdir(parents=True, exist_ok=True)
    private = libc.mount(b"none", b"/", None, _PRIVATE, None)
    if private or libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={size}".encode()):
        os._exit(NO_MOUNT)


def fill_disk(folder: Path, left: int = 0) -> None:
    """Fill the disk of a folder up to the last `left` bytes."""
    size = shutil.disk_usage(folder).free - left
    assert 0 <= size < 2**26, "this is no small disk"
    with (folder / "filler").open("wb") as file:
        file.write(bytes(size))


def forbid_writing(*folders: Path) -> None:
    """Make folders read-only, for root too, by dropping its capability to ignore the modes of files."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, data) == 0
    for first in (0, 1):  # effective and permitted: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        data[first] &= ~0b110
    assert libc.capset(header, data) == 0
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)


def child_processes(pid: int) -> list[int]:
    """Return the ids of all descendants of a process, on Linux."""
    try:
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return direct + [descendant for child in direct for descendant in child_processes(child)]
