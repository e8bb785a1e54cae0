"""Imports only go down, components do not know each other, and nothing heavy is imported before it is needed."""

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
    ("frames", "files", "video_file"),
    ("errors", "machine", "untrusted"),
)
"""The parts of the package, from above to below: each may import what is in a layer below its own."""
ROOT = ""  # dygait/__init__.py: the public face, which may point anywhere
MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ROOT


def module_name(path: Path) -> str:
    names = path.relative_to(LIB).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def imported(path: Path) -> set[str]:
    """Every module of ours that a file imports, inside functions and for type checking too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            # `from dygait import data` names a part by what it imports, `from dygait.data import x` by where from.
            inside = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "dygait" else [node.module]
            )
            found |= set(inside)
    return {name for name in found if name.split(".")[0] == "dygait"}


def below(part: str) -> set[str]:
    layer = next((index for index, parts in enumerate(LAYERS) if part in parts), None)
    assert layer is not None, f"{part} is new: say in this test where it belongs"
    return {ROOT, part}.union(*LAYERS[layer + 1 :])


def test_there_is_something_to_walk() -> None:
    assert {part_of(module_name(path)) for path in MODULES} == {ROOT, *(part for layer in LAYERS for part in layer)}


@pytest.mark.parametrize("path", [p for p in MODULES if part_of(module_name(p))], ids=module_name)
def test_imports_only_go_down(path: Path) -> None:
    part = part_of(module_name(path))
    beyond = {name for name in imported(path) if part_of(name) not in below(part)}
    # `from dygait import __version__` is the root's own, not a part.
    beyond = {name for name in beyond if not (name.count(".") == 1 and name.split(".")[1].startswith("__"))}
    assert not beyond, f"{module_name(path)} imports {sorted(beyond)}"


def test_no_folder_holds_more_than_a_sixth_of_the_package() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    folders = {part: sum(n for path, n in lines.items() if part_of(module_name(path)) == part) for part in
               {part_of(module_name(path)) for path in MODULES}}  # fmt: skip
    assert max(folders.values()) <= sum(lines.values()) / 6, folders


HEAVY = ("torch", "torchvision", "cv2", "tensorboard", "pydantic", "yaml", "numpy")


def heavy_modules_after(statement: str) -> list[str]:
    lines = ("import sys", statement, f"print([m for m in {HEAVY} if m in sys.modules])")
    answer = command("-c", "\n".join(lines)).stdout.strip().splitlines()[-1]
    return list(ast.literal_eval(answer))


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        ("import dygait; dygait.__version__; dir(dygait)", set(HEAVY)),
        ("import dygait.config, dygait.registry, dygait.errors", {"torch"}),
        ("from dygait.frames.normalisation import normalise_silhouette", {"torch"}),
        # It takes a second, and is needed where a grid is drawn.
        (
            "import dygait.cli, dygait.training.loop, dygait.testing.scoring",
            {"torchvision"},
        ),
    ],
)
def test_what_is_not_needed_is_not_imported(statement: str, unneeded: set[str]) -> None:
    assert not unneeded & set(heavy_modules_after(statement))


def test_the_public_face_is_there() -> None:
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
    """The processor time, best of two: what a user waits for on a machine that is not busy with other tests."""
    times = []
    for _ in range(2):
        before = os.times()
        assert "usage" in command(*arguments).stdout
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(times) < 1.0
