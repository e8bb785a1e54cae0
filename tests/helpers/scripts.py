"""Scripts as modules."""

import importlib.util
import sys
from types import ModuleType

from helpers.experiments import REPOSITORY


def load_script(name: str) -> ModuleType:
    """Return `scripts/<name>.py` as a module of that name, without running its `main`."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module
