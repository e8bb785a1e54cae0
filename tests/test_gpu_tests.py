"""The tests of a GPU, tried on a CPU, so that they are right when somebody with a GPU runs them."""

import re

from helpers.accelerator import ON_CPU
from helpers.experiments import command

PYTEST = ("-m", "pytest", "-rs", "-n", "0", "-p", "no:cacheprovider", "tests/gpu")


def test_they_pass_on_a_cpu() -> None:
    done = command(*PYTEST, timeout=1200, **{ON_CPU: "cpu"})
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) > 50, done.stdout


def test_without_a_gpu_one_line_says_so() -> None:
    done = command(*PYTEST, **{ON_CPU: ""})
    assert done.returncode == 0, done.stdout
    assert "1 skipped" in done.stdout
    assert done.stdout.count("no GPU") == 1
