"""Imports only go down, and nothing heavy is imported before it is needed."""

import ast
import os
from pathlib import Path

import pytest

from helpers.experiments import command

LIB = Path(__file__).resolve().parents[1] / "lib"
PACKAGE = LIB / "dygait"
LAYERS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("profiling",),
    ("training",),
    ("testing",),
    ("explaining", "identification"),
    ("reporting",),
    ("deployment",),
    ("runs",),
    ("preprocess", "video"),
    ("data", "modeling", "losses", "evaluation"),
    ("config",),
    ("synthetic",),
    ("registry",),
    ("config_problems",),
    ("logs",),
    ("distributed",),
    ("frames", "files", "processes", "video_file"),
    ("errors", "machine", "untrusted"),
)
"""The parts of the package, from top to bottom: each may import from the layers below its own."""
ROOT = ""  # dygait/__init__.py: the public interface, which may import from anywhere
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ROOT


def module_name(path: Path) -> str:
    names = path.relative_to(LIB).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imported(path: Path) -> set[str]:
    """Return every module of the package that a file imports, also in functions and for type checking."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # `from dygait import data` imports the module dygait.data, as `from dygait.data import x` does.
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= submodules if node.module == "dygait" else {node.module}
    return {name for name in modules if name.split(".")[0] == "dygait"}


def below(part: str) -> set[str]:
    layer = next((index for index, parts in enumerate(LAYERS) if part in parts), None)
    assert layer is not None, f"{part} is new: add it to LAYERS"
    return {ROOT, part}.union(*LAYERS[layer + 1 :])


def test_every_part_has_a_layer() -> None:
    assert {part_of(module_name(path)) for path in MODULES} == {ROOT, *(part for layer in LAYERS for part in layer)}


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(module_name(p))], ids=module_name)
def test_imports_only_go_down(path: Path) -> None:
    part = part_of(module_name(path))
    forbidden = {name for name in imported(path) if part_of(name) not in below(part)}
    # `from dygait import __version__` imports no module.
    forbidden = {name for name in forbidden if not (name.count(".") == 1 and name.split(".")[1].startswith("__"))}
    assert not forbidden, f"{module_name(path)} imports {sorted(forbidden)}"


def test_no_folder_holds_more_than_a_sixth_of_the_package() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    folders = {part: sum(n for path, n in lines.items() if part_of(module_name(path)) == part) for part in
               {part_of(module_name(path)) for path in MODULES}}  # fmt: skip
    assert max(folders.values()) <= sum(lines.values()) / 6, folders


HEAVY = ("torch", "torchvision", "cv2", "tensorboard", "pydantic", "yaml", "numpy")


def heavy_modules_after(statement: str) -> list[str]:
    lines = ("import sys", statement, f"print([m for m in {HEAVY} if m in sys.modules])")
    output = command("-c", "\n".join(lines)).stdout.strip().splitlines()[-1]
    return list(ast.literal_eval(output))


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("import dygait; dygait.__version__; dir(dygait)", set(HEAVY)),
        ("import dygait.config, dygait.registry, dygait.errors", {"torch"}),
        ("from dygait.frames.normalisation import normalise_silhouette", {"torch"}),
        # Importing torchvision takes a second; only a grid of pictures needs it.
        ("import dygait.cli, dygait.training.loop, dygait.testing.scoring", {"torchvision"}),
    ],
)
def test_unneeded_modules_are_not_imported(statement: str, unneeded: set[str]) -> None:
    assert not unneeded & set(heavy_modules_after(statement))


def test_the_public_interface() -> None:
    import dygait

    assert {"build_model", "load_weights", "build_loss", "evaluate", "normalise_silhouette"} <= set(dygait.__all__)
    for name in dygait.__all__:
        assert callable(getattr(dygait, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dygait.nothing


HELP = {
    "main.py": ("runner", ["--help"]),
    "dygait": ("main", ["--help"]),
    "dygait train": ("main", ["train", "--help"]),
    "dygait synth": ("main", ["synth", "--help"]),
    "dygait prepare": ("main", ["prepare", "--help"]),
    "dygait profile": ("main", ["profile", "--help"]),
    "dygait --version": ("main", ["--version"]),
}


@pytest.mark.parametrize("name", HELP)
def test_help_does_not_import_torch(name: str) -> None:
    function, arguments = HELP[name]
    lines = (
        f"from dygait.cli import {function}",
        f"try: {function}({arguments})",
        "except SystemExit as end: assert not end.code",
    )
    assert not {"torch", "cv2", "numpy"} & set(heavy_modules_after("\n".join(lines)))


@pytest.mark.parametrize(
    "arguments",
    [[str(LIB / "main.py"), "--help"], ["-c", "from dygait.cli import main; main(['--help'])"]],
    ids=["main.py", "dygait"],
)
def test_help_answers_in_a_second(arguments: list[str]) -> None:
    """CPU time, the best of two: the time that a user waits on an idle machine."""
    times = []
    for _ in range(2):
        before = os.times()
        assert "usage" in command(*arguments).stdout
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(times) < 1.0
