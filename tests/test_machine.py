"""What is asked of the machine: cores and memory."""

import pytest

from dygait import machine
from helpers.experiments import command

FAULTS = """
import ctypes, resource, sys
from dygait.machine import tune_allocator

kept, said = tune_allocator()
assert tune_allocator() == (kept, said)
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
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, said)
"""


@pytest.fixture(autouse=True)
def _nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (machine.ALLOCATOR_VARIABLE, "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(machine.libc_with_mallopt() is None, reason="the C library is not glibc")
def test_freed_memory_is_used_again() -> None:
    """256 MiB are 65,536 pages (or 128 huge ones): by default each use faults all of them in, tuned none."""
    answers = {}
    for name, extra in {"tuned": {}, "default": {machine.ALLOCATOR_VARIABLE: "default"}}.items():
        said = command("-c", FAULTS, **extra)
        assert said.returncode == 0, said.stderr
        kept, faults, *_ = said.stdout.split()
        answers[name] = kept, int(faults)
    assert answers["tuned"][0] == "True"
    assert answers["default"][0] == "False"
    assert answers["tuned"][1] < answers["default"][1] / 10


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (machine.ALLOCATOR_VARIABLE, "default", "DYGAIT_ALLOCATOR=default"),
        ("MALLOC_ARENA_MAX", "2", "MALLOC_ARENA_MAX is set"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", "GLIBC_TUNABLES is set"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so.2", "LD_PRELOAD is set"),
    ],
)
def test_the_choice_of_the_user_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    kept, sentence = machine.tune_allocator()
    assert not kept
    assert said in sentence


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "libc_with_mallopt", lambda: None)
    assert machine.tune_allocator() == (False, "the allocator is unchanged: it is not glibc's")
