"""`pip install .` installs the package, its configurations and its command."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import dygait
from helpers.experiments import REPOSITORY


def run(arguments: list[str], folder: Path, path: str = "") -> str:
    """Run Python outside the source tree, with `path` as PYTHONPATH, and return its output."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "HOME": str(folder)},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the sources, so that building leaves no files in the repository; without downloads."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE", "NOTICE.md"):
        shutil.copy(REPOSITORY / name, source)
    (source / "tests").mkdir()
    shutil.copy(REPOSITORY / "tests" / "requirements.txt", source / "tests")
    shutil.copytree(REPOSITORY / "configs", source / "configs")
    shutil.copytree(REPOSITORY / "scripts" / "requirements", source / "scripts" / "requirements")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "lib", source / "lib", ignore=ignored)
    offline = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    run(["-m", "pip", "install", *offline, "--target", str(target), str(source)], source)
    return target


def test_configurations_are_installed(installed: Path) -> None:
    shipped = {path.name for path in (REPOSITORY / "configs").glob("*.yaml")}
    assert "default.yaml" in shipped
    assert {path.name for path in (installed / "dygait" / "configs").iterdir()} == shipped
    code = "from dygait.config.load import configs_folder; print(configs_folder())"
    (folder,) = run(["-c", code], installed.parent, str(installed)).splitlines()
    assert Path(folder) == installed / "dygait" / "configs"


def test_every_module_and_data_file_is_installed(installed: Path) -> None:
    files = {path.relative_to(REPOSITORY / "lib") for path in (REPOSITORY / "lib" / "dygait").rglob("*.*")}
    files = {path for path in files if path.suffix != ".pyc"}
    assert {path.suffix for path in files} >= {".py", ".css", ".html"}
    assert files <= {path.relative_to(installed) for path in (installed / "dygait").rglob("*.*")}


def test_version_requirements_and_command(installed: Path) -> None:
    (metadata,) = installed.glob("dygait-*.dist-info")
    assert metadata.name == f"dygait-{dygait.__version__}.dist-info"
    assert "dygait = dygait.cli:main" in (metadata / "entry_points.txt").read_text()
    content = (metadata / "METADATA").read_text()
    extra_of = {f"scripts/requirements/{name}.txt": name for name in ("video", "faiss", "export")}
    extra_of["tests/requirements.txt"] = "dev"
    markers = {"requirements.txt": "", **{file: f'; extra == "{name}"' for file, name in extra_of.items()}}
    for file, marker in markers.items():
        lines = [line.partition("#")[0].strip() for line in (REPOSITORY / file).read_text().splitlines()]
        assert [line for line in lines if line and f"Requires-Dist: {line}{marker}\n" not in content] == []
    assert "Requires-Python: >=3.10" in content
    assert "License-Expression: PolyForm-Noncommercial-1.0.0" in content
    script = installed / "bin" / "dygait"
    assert run([str(script), "--version"], installed.parent, str(installed)) == f"dygait {dygait.__version__}\n"


def test_the_license_is_the_standard_text() -> None:
    """PolyForm-Noncommercial-1.0.0.md as its authors publish it."""
    digest = hashlib.sha256((REPOSITORY / "LICENSE").read_bytes()).hexdigest()
    assert digest == "c0ea4a896d2c8c394b29f9427589996db826cd501c512279ff0ed3ef48fabbe5"


def test_the_citation_names_this_version_and_license() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == dygait.__version__
    assert citation["license"] == "PolyForm-Noncommercial-1.0.0"
    assert f"[{dygait.__version__}]" in (REPOSITORY / "docs" / "changelog.md").read_text()
