"""The settings of the memory allocator."""

import pytest

from dygait import machine
from helpers.experiments import command

FAULTS = """
import ctypes, resource, sys
from dygait.machine import tune_allocator

is_tuned, message = tune_allocator()
assert tune_allocator() == (is_tuned, message)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def use(size=256 * 2**20):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    use()
print(is_tuned, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(autouse=True)
def _default_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (machine.ALLOCATOR_VARIABLE, "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(machine.libc_with_mallopt() is None, reason="the C library is not glibc")
def test_freed_memory_is_used_again() -> None:
    """256 MiB are 65,536 pages (or 128 huge ones): each use faults on all of them by default, on none if tuned."""
    faults_of = {}
    for name, extra in {"tuned": {}, "default": {machine.ALLOCATOR_VARIABLE: "default"}}.items():
        result = command("-c", FAULTS, **extra)
        assert result.returncode == 0, result.stderr
        is_tuned, faults = result.stdout.split()
        faults_of[name] = is_tuned, int(faults)
    assert faults_of["tuned"][0] == "True"
    assert faults_of["default"][0] == "False"
    assert faults_of["tuned"][1] < faults_of["default"][1] / 10


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        (machine.ALLOCATOR_VARIABLE, "default", "DYGAIT_ALLOCATOR=default"),
        ("MALLOC_ARENA_MAX", "2", "MALLOC_ARENA_MAX is set"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", "GLIBC_TUNABLES is set"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2", "LD_PRELOAD is set"),
    ],
)
def test_the_setting_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str) -> None:
    monkeypatch.setenv(name, value)
    is_tuned, message = machine.tune_allocator()
    assert not is_tuned
    assert reason in message


def test_another_c_library_is_not_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "libc_with_mallopt", lambda: None)
    assert machine.tune_allocator() == (False, "the allocator is unchanged: it is not glibc's")
