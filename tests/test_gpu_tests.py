"""Run the tests of a GPU on a CPU, so that they are correct when somebody with a GPU runs them."""

import re
from pathlib import Path

import pytest

import gpu.conftest
import gpu.test_a_gpu
from helpers.accelerator import DEVICE, ON_CPU
from helpers.experiments import command


def test_they_pass_on_a_cpu() -> None:
    options = ("-rs", "-n", "0", "-p", "no:cacheprovider", "tests/gpu")
    result = command("-m", "pytest", *options, timeout=1200, **{ON_CPU: "cpu"})
    assert result.returncode == 0, result.stdout
    passed = re.search(r"(\d+) passed", result.stdout)
    assert int(passed[1]) > 35, result.stdout


@pytest.mark.skipif(DEVICE is not None, reason="there is a GPU")
def test_without_a_gpu_one_test_is_skipped() -> None:
    modules = {path.name for path in Path(gpu.conftest.__file__).parent.glob("test_*.py")}
    assert modules - {*gpu.conftest.collect_ignore} == {"test_a_gpu.py"}
    with pytest.raises(pytest.skip.Exception, match="no GPU"):
        gpu.test_a_gpu.test_there_is_one()
