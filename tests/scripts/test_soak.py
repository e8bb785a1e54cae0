"""The soak test: the summary of a constant and of a growing run, sampling, and the help text."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from helpers.experiments import REPOSITORY
from helpers.scripts import load_script


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    return load_script("soak")


@pytest.mark.parametrize(("slope", "files"), [(0.0, 0), (0.4, 0), (2.0, 0), (0.0, 3)])
def test_the_second_half_is_summarised(soak: ModuleType, slope: float, files: int) -> None:
    """The first half, in which memory is allocated, is ignored."""
    samples = [
        soak.Sample(i, 10 * i, 500 + min(i, 400) + slope * i / 100, 60 + (files if i > 900 else 0), 3)
        for i in range(1001)
    ]
    summary = soak.summarise(samples)
    assert summary["slope_mb_per_1000"] == pytest.approx(slope, abs=1e-6)
    assert summary["files_end"] - summary["files_start"] == files
    assert summary["iterations"] == 10_000


def test_a_stopped_process_is_not_sampled(soak: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "state.json").write_text('{"iteration": 7}')
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        limit = time.monotonic() + 30
        while (sample := soak.sample_run(process.pid, tmp_path, 1.0)) is None or sample.memory < 1:  # starting
            assert time.monotonic() < limit
        assert (sample.iteration, sample.processes) == (7, 1)
        assert sample.files >= 3
        process.send_signal(signal.SIGSTOP)
        while soak.sample_run(process.pid, tmp_path, 1.0) is not None:
            assert time.monotonic() < limit
        process.kill()
    assert soak.sample_run(process.pid, tmp_path, 1.0) is None


def test_help() -> None:
    for arguments, code in ((["--help"], 0), (["long"], 2), (["1", "2"], 2)):
        completed = subprocess.run(
            ["bash", "scripts/soak.sh", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert completed.returncode == code
        assert "bash scripts/soak.sh [MINUTES]" in completed.stdout
