"""The Python environment that the scripts create or use, and the browser in continuous integration."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.experiments import REPOSITORY


def bash(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with the functions of environment.sh and only the given environment variables."""
    executable = str(shutil.which("bash"))  # PATH of `variables` may not contain it
    return subprocess.run(
        [executable, "-euo", "pipefail", "-c", f"source {REPOSITORY}/scripts/environment.sh; {command}"],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def write_script(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


ACTIVE = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "VIRTUAL_ENV": sys.prefix}


class TestRequirements:
    def test_no_output_if_nothing_is_missing(self) -> None:
        completed = bash("activate_environment; install_requirements requirements.txt", REPOSITORY, **ACTIVE)
        assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")

    def test_a_failed_installation_has_a_message(self, tmp_path: Path) -> None:
        (tmp_path / "missing.txt").write_text("a-package-that-nobody-has>=1\n")
        offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        completed = bash("install_requirements missing.txt", tmp_path, **ACTIVE, **offline)
        assert completed.returncode == 2
        assert "a-package-that-nobody-has" in completed.stderr  # the message of pip
        assert re.search(r"^error: .*missing\.txt", completed.stderr, re.MULTILINE)

    @pytest.mark.parametrize("active", [True, False])
    def test_constraints_apply_to_a_new_environment_only(self, tmp_path: Path, active: bool) -> None:
        binaries = tmp_path / ("active/bin" if active else ".venv/bin")
        # A python for which something is missing, and which records its arguments.
        write_script(binaries / "python", 'echo "$*" >> calls; case "$*" in *--no-index*) exit 1;; esac')
        write_script(binaries / "uname", "echo Darwin")  # has no index of its own
        (tmp_path / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv/bin/activate").write_text('PATH="$PWD/.venv/bin"\n')
        variables = {"PATH": str(binaries), **({"VIRTUAL_ENV": str(binaries.parent)} if active else {})}
        completed = bash("activate_environment; install_requirements a.txt b.txt", tmp_path, **variables)
        assert completed.returncode == 0, completed.stderr
        calls = (tmp_path / "calls").read_text().splitlines()
        (installed,) = [call for call in calls if "pip install" in call and "--no-index" not in call]
        assert installed.endswith("--requirement a.txt --requirement b.txt")
        assert ("--constraint scripts/constraints.txt" in installed) != active

    @pytest.mark.parametrize(("offline", "online"), [(0, 1), (1, 0), (1, 1)])
    def test_the_command_is_installed_if_it_is_missing(self, tmp_path: Path, offline: int, online: int) -> None:
        binaries = tmp_path / "bin"
        write_script(
            binaries / "python",
            f'case "$*" in *get_path*) echo {binaries};; *sys.prefix*) echo {tmp_path};; '
            f"*--no-index*--no-build-isolation*) echo offline >> calls; exit {offline};; "
            f'*"pip install"*) echo online >> calls; exit {online};; esac',
        )
        completed = bash("install_command", tmp_path, PATH=str(binaries))
        assert completed.returncode == 0
        assert (tmp_path / "calls").read_text().split() == ["offline", "online"][: 1 + offline]
        assert ("could not be installed" in completed.stderr) == bool(offline and online)
        write_script(binaries / "dygait", "")
        (tmp_path / "calls").unlink()
        assert bash("install_command", tmp_path, PATH=str(binaries)).stderr == ""
        assert not (tmp_path / "calls").exists()

    def test_the_message_without_python(self, tmp_path: Path) -> None:
        completed = bash("activate_environment", tmp_path, PATH=str(tmp_path))
        assert completed.returncode == 2
        assert re.search(r"error: no Python 3\.10.*python3-venv", completed.stderr)


def test_the_workflow_tests_the_oldest_and_newest_versions() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())
    oldest, newest = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    required = dict(re.findall(r"^(\w+)>=([\d.]+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE))
    pinned = dict(re.findall(r"^(\w+)==(.+)$", (REPOSITORY / "scripts/constraints.txt").read_text(), re.MULTILINE))
    for package in ("torch", "torchvision"):
        assert oldest[package] == f"{required[package]}.0"
        assert newest[package] == pinned[package]
    assert (oldest["python"], newest["python"]) == ("3.10", "3.13")


@pytest.mark.parametrize(
    ("user_id", "apt", "variables", "message", "installed"),
    [
        (0, "true", {}, "", False),
        (1000, "true", {"CI": "true"}, "no apt-get as root", False),
        (0, "true", {"CI": "true"}, "installing chromium", True),
        (0, "false", {"CI": "true"}, "chromium could not be installed", True),
    ],
)
def test_when_the_browser_is_installed(
    tmp_path: Path, user_id: int, apt: str, variables: dict[str, str], message: str, installed: bool
) -> None:
    """In continuous integration only; a failed installation does not fail the run."""
    write_script(tmp_path / "id", f"echo {user_id}")
    write_script(tmp_path / "apt-get", f"touch {tmp_path / 'called'}; {apt}")
    for name in ("bash", "sh", "timeout", "touch"):
        executable = shutil.which(name)
        assert executable
        (tmp_path / name).symlink_to(executable)
    completed = bash("install_browser", tmp_path, PATH=str(tmp_path), **variables)
    assert completed.returncode == 0
    assert message in completed.stderr
    assert bool(completed.stderr) == bool(message)
    assert (tmp_path / "called").exists() == installed
