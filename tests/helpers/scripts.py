"""Import scripts as modules, and run them in this process."""

import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

import cv2
import pytest
import torch

from helpers.experiments import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"


def load_script(name: str) -> ModuleType:
    """Return `scripts/<name>.py` as a module of that name, without running its `main`."""
    if name in sys.modules:  # imported by another script
        return sys.modules[name]
    if str(SCRIPTS) not in sys.path:  # as when a script is run
        sys.path.insert(0, str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


def run_script(script: ModuleType, arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the `main` of a script in this process, and restore the numbers of threads."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr(sys, "argv", [script.__file__, *arguments])
    try:
        assert script.main() in (0, None)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
