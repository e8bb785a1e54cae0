"""A disk, the data, a worker or TensorBoard fails during a run: the message is clear, and nothing is lost."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from dygait.runs.checkpoint_files import damage_of
from dygait.runs.status import status
from helpers.experiments import Experiment
from helpers.faulting import (
    LONG,
    NO_MOUNT,
    SETTINGS,
    Run,
    assert_resumes,
    assert_same_end,
    child_processes,
    events,
    fill_disk,
    forbid_writing,
    iterations_done,
    launch,
    small_disk,
    unfinished_files,
    wait_until,
)


def assert_clear(run: Run, *keywords: str) -> None:
    """Check that a run ended with code 2 and one line of error with these keywords, without a traceback."""
    assert run.wait() == 2, run.output
    errors = [line for line in run.output.splitlines() if line.startswith("dygait: error: ")]
    assert len(errors) == 1, run.output
    assert "Traceback" not in run.output
    for keyword in keywords:
        assert keyword in errors[0]


def assert_recovers(experiment: Experiment, uninterrupted: Experiment, *settings: str) -> None:
    """Check that checkpoints are valid, there is no partial file, and the resumed run ends like one without a fault."""
    saved = sorted(experiment.checkpoints.glob("*.pt"))
    assert saved
    assert [damage_of(path) for path in saved] == [None] * len(saved)
    assert unfinished_files(experiment) == []
    assert_resumes(experiment, uninterrupted, *SETTINGS, *settings)
    assert events(experiment, "started")[-1]["iteration"] == int(saved[-1].stem[-5:])


# The free bytes after iteration 5: none, so that the next line of the log fails; enough for the log, so that the
# checkpoint fails; enough for some of its records, or for most of them.
@pytest.mark.parametrize("left", [0, 64_000, *([16_000, 32_000, 128_000, 256_000, 384_000] if LONG else [])])
def test_a_full_disk(uninterrupted: Experiment, tmp_path: Path, left: int) -> None:
    full = uninterrupted.at(tmp_path / "disk")
    copy = uninterrupted.at(tmp_path / "copy")
    run = launch(
        full, *SETTINGS, before=partial(small_disk, full.output, 2**24), at={5: partial(fill_disk, full.output, left)},
        after=lambda: shutil.copytree(full.output, copy.output, ignore=shutil.ignore_patterns("filler")),
    )  # fmt: skip
    if run.wait() == NO_MOUNT:
        pytest.skip("mounting a small disk is not allowed here; the next test limits the size of files instead")
    assert_clear(run, "No space left on device", "--resume")
    assert [p.name for p in sorted(copy.checkpoints.glob("*.pt"))] == ["tiny-00002.pt", "tiny-00004.pt"]
    assert_recovers(copy, uninterrupted)


def test_a_limit_of_the_size_of_files(uninterrupted: Experiment, interrupted: Experiment) -> None:
    """Like a quota, it strikes in the middle of a checkpoint, the first file that is too large."""
    size = (uninterrupted.checkpoints / "tiny-00006.pt").stat().st_size
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99) if LONG else (0.5,):
        shutil.rmtree(interrupted.folder, ignore_errors=True)
        limit = int(share * size)
        run = launch(interrupted, *SETTINGS, at={5: lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))})
        assert_clear(run, "File too large", "--resume from tiny-00004.pt")
        assert [p.name for p in sorted(interrupted.checkpoints.glob("*.pt"))] == ["tiny-00002.pt", "tiny-00004.pt"]
        assert_recovers(interrupted, uninterrupted)


def test_the_output_becomes_read_only(uninterrupted: Experiment, interrupted: Experiment) -> None:
    run = launch(interrupted, *SETTINGS, at={5: lambda: forbid_writing(interrupted.folder)})
    assert_clear(run, "Permission denied", str(interrupted.folder), "--resume")
    for path in (interrupted.folder, *interrupted.folder.rglob("*")):
        path.chmod(0o755)
    assert status(interrupted.folder)["state"] == "lost"  # nothing more could be written
    assert_recovers(interrupted, uninterrupted)


@pytest.mark.parametrize("workers", [0, 2] if LONG else [0])
def test_data_files_are_damaged(uninterrupted: Experiment, interrupted: Experiment, workers: int) -> None:
    setting = f"data_cfg.num_workers={workers}"

    def damage() -> None:
        for path in sorted(uninterrupted.root.rglob("*.pkl")):
            path.rename(path.with_suffix(".original"))
            path.write_bytes(os.urandom(path.with_suffix(".original").stat().st_size))

    try:
        # Two workers are up to six batches ahead.
        run = launch(interrupted, *SETTINGS, setting, at={2: damage})
        assert_clear(run, f"{uninterrupted.root}/", ".pkl cannot be loaded")
    finally:
        for path in uninterrupted.root.rglob("*.original"):
            path.replace(path.with_suffix(".pkl"))
    assert status(interrupted.folder)["state"] == "failed"
    assert_recovers(interrupted, uninterrupted, setting)


@pytest.mark.parametrize("workers", [0, 2] if LONG else [2])
def test_the_data_folder_disappears(uninterrupted: Experiment, interrupted: Experiment, workers: int) -> None:
    moved = uninterrupted.root.with_name("moved")
    setting = f"data_cfg.num_workers={workers}"
    try:
        run = launch(interrupted, *SETTINGS, setting, at={2: lambda: uninterrupted.root.rename(moved)})
        assert_clear(run, f"{uninterrupted.root}/", "does not exist")
    finally:
        moved.rename(uninterrupted.root)
    assert_recovers(interrupted, uninterrupted, setting)


def test_a_packed_store_is_truncated(uninterrupted: Experiment, interrupted: Experiment, tmp_path: Path) -> None:
    """Reading a mapped file that was truncated ends the process by SIGBUS, with a stack trace and no wrong results."""
    from dygait.data.packing import pack

    pack(uninterrupted.root, tmp_path / "packed")
    setting = f"data_cfg.dataset_root={tmp_path / 'packed'}"
    (frames,) = (tmp_path / "packed").glob("frames-*.bin")
    content = frames.read_bytes()
    run = launch(interrupted, *SETTINGS, setting, at={5: partial(os.truncate, frames, 0)})
    assert run.wait() == -signal.SIGBUS, run.output
    assert "Bus error" in run.output
    assert "File" in run.output
    frames.write_bytes(content)
    assert_recovers(interrupted, uninterrupted, setting)


@pytest.mark.parametrize("case", range(10 if LONG else 2))
def test_a_worker_is_killed(uninterrupted: Experiment, interrupted: Experiment, case: int) -> None:
    """One of two workers is killed during a step or, from the third case on, at any time."""
    setting = "data_cfg.num_workers=2"

    def kill_one() -> None:
        os.kill(child_processes(os.getpid())[case % 2], signal.SIGKILL)

    at: dict[int, Callable[[], None]] = {5: kill_one} if case < 2 else {}
    run = launch(interrupted, *SETTINGS, setting, at=at)
    if case >= 2:
        wait_until(lambda: iterations_done(interrupted) >= 3, run)
        time.sleep(0.02 * (case - 2))
        os.kill(child_processes(run.process.pid or 0)[case % 2], signal.SIGKILL)
    assert_clear(run, "which loads data", "num_workers", "--resume")
    assert_recovers(interrupted, uninterrupted, setting)


@pytest.mark.parametrize("fault", ["removed", "full"] if LONG else ["full"])
def test_tensorboard_fails(uninterrupted: Experiment, interrupted: Experiment, fault: str) -> None:

    def fail() -> None:
        shutil.rmtree(interrupted.folder / "summary")
        if fault == "full":
            (interrupted.folder / "summary").symlink_to("/dev/full")

    run = launch(interrupted, *SETTINGS, at={5: fail})
    assert run.wait() == 0, run.output
    assert "TensorBoard's files cannot be written" in run.output
    assert len(events(interrupted, "no TensorBoard")) == 1
    assert "1 x no TensorBoard" in status(interrupted.folder)["warnings"]
    assert_same_end(interrupted, uninterrupted)


def test_a_weight_becomes_nan(
    uninterrupted: Experiment, interrupted: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A weight becomes NaN: the run ends and names the batch, which `debug-batch` diagnoses."""
    from dygait import cli
    from dygait.training.trainer import Trainer

    step = Trainer.step

    def set_nan(self: Trainer, *arguments: object) -> object:
        if self.iteration == 5:
            with torch.no_grad():
                next(self.network.parameters()).view(-1)[0] = float("nan")
        return step(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", set_nan)
        run = launch(interrupted, *SETTINGS)
        patch.undo()
        assert_clear(run, "iteration 8: 3 steps in a row", "dygait debug-batch")
        assert [event["iteration"] for event in events(interrupted, "skipped step")] == [6, 7, 8]
        (saved,) = (interrupted.folder / "debug").glob("batch-00008-rank0.pt")
        assert cli.main(["debug-batch", str(saved)]) == 0
        output = capsys.readouterr().out
        assert "/nm-" in output
        assert "non-finite weights" in output
        assert "3 x skipped step" in status(interrupted.folder)["warnings"]
        (interrupted.checkpoints / "tiny-00006.pt").unlink()  # it contains the weight
        assert_recovers(interrupted, uninterrupted)
