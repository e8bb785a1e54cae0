"""In the place of `subprocess`: Python commands in forks of this process, which has imported PyTorch already."""

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import PIPE, TimeoutExpired
from typing import IO, Any, ClassVar

import cv2
import torch
import torch._dynamo  # by FakeTensorMode; it costs two seconds, here once and not in every fork

from helpers.experiments import free_port

__all__ = ["PIPE", "Popen", "TimeoutExpired", "run"]


class Popen:
    """A fork that runs the `main` of a script that `load_script` has loaded, or the code after `-c`.

    A command of `torch.distributed.run` is a group of forks. A fork keeps to one thread: OpenMP and OpenCV can start no
    others where the parent has had some. What it writes to stderr is this process's.
    """

    _pipes: ClassVar[list[IO[str]]] = []
    """Of all forks so far: one that keeps another's open would never let it read an end."""

    def __init__(
        self, command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None, **_: Any
    ) -> None:
        at = next(i for i, word in enumerate(command) if word == "-c" or word.endswith(".py"))
        world = next((int(word.partition("=")[2]) for word in command[:at] if word.startswith("--nproc_per_node")), 1)
        variables = dict(env or {})
        if world > 1:
            variables |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1"}
            variables |= {"MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo"}
        (source, to), (back, target) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(to, "w"), os.fdopen(back)
        self._pipes.extend((self.stdin, self.stdout))

        def work(rank: int) -> None:
            gc.freeze()  # a collection would copy the pages of all that is here
            for pipe in self._pipes:
                pipe.close()
            os.dup2(source, 0)
            os.dup2(target, 1)
            sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
            os.environ.update(variables | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else {}))
            os.chdir(cwd or Path.cwd())
            torch.set_num_threads = lambda number: None
            cv2.setNumThreads(0)
            sys.argv = list(command[at:])
            if command[at] == "-c":
                exec(sys.argv.pop(1), {"__name__": "__main__"})
            else:
                sys.exit(sys.modules[Path(command[at]).stem].main())

        self.processes = [multiprocessing.get_context("fork").Process(target=work, args=(i,)) for i in range(world)]
        for process in self.processes:
            process.start()
        os.close(source)
        os.close(target)

    def wait(self, timeout: float | None = None) -> int:
        """Return the first exit code that is not 0."""
        for process in self.processes:
            process.join(timeout)
        codes = [process.exitcode for process in self.processes]
        if None in codes:
            raise TimeoutExpired("a fork", timeout or 0.0)
        return next((code for code in codes if code), 0)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()


def run(command: Sequence[str], check: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = Popen(command, **more)
    process.stdin.close()
    output, code = process.stdout.read(), process.wait()
    if check and code:
        raise subprocess.CalledProcessError(code, list(command))
    return subprocess.CompletedProcess(command, code, output)
