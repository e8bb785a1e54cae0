"""Scripts as modules."""

import importlib.util
import sys
from types import ModuleType

from helpers.experiments import REPOSITORY

SCRIPTS = REPOSITORY / "scripts"


def load_script(name: str) -> ModuleType:
    """Return `scripts/<name>.py` as a module of that name, without running its `main`."""
    if str(SCRIPTS) not in sys.path:  # as when a script is run
        sys.path.insert(0, str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module
