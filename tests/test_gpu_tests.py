"""The tests of a GPU, tried on a CPU, so that they are right when somebody with a GPU runs them."""

import re
from pathlib import Path

import pytest

import gpu.conftest
import gpu.test_a_gpu
from helpers.accelerator import DEVICE, ON_CPU
from helpers.experiments import command


def test_they_pass_on_a_cpu() -> None:
    options = ("-rs", "-n", "0", "-p", "no:cacheprovider", "tests/gpu")
    done = command("-m", "pytest", *options, timeout=1200, **{ON_CPU: "cpu"})
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) > 35, done.stdout


@pytest.mark.skipif(DEVICE is not None, reason="there is a GPU")
def test_without_a_gpu_one_line_says_so() -> None:
    modules = {path.name for path in Path(gpu.conftest.__file__).parent.glob("test_*.py")}
    assert modules - {*gpu.conftest.collect_ignore} == {"test_a_gpu.py"}
    with pytest.raises(pytest.skip.Exception, match="no GPU"):
        gpu.test_a_gpu.test_there_is_one()
