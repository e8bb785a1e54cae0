"""The environment that the scripts make or use, and the browser of continuous integration."""

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
    """Run a command in a folder with the functions of environment.sh and nothing of this process's environment."""
    found = str(shutil.which("bash"))  # the variables below need not name a path to it
    return subprocess.run(
        [found, "-euo", "pipefail", "-c", f"source {REPOSITORY}/scripts/environment.sh; {command}"],
        cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def write_script(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


ACTIVE = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}", "VIRTUAL_ENV": sys.prefix}


class TestRequirements:
    def test_where_nothing_is_missing_there_is_no_output(self) -> None:
        done = bash("activate_environment; install_requirements requirements.txt", REPOSITORY, **ACTIVE)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_what_cannot_be_installed_ends_with_a_message(self, tmp_path: Path) -> None:
        (tmp_path / "wanted.txt").write_text("a-package-that-nobody-has>=1\n")
        offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
        done = bash("install_requirements wanted.txt", tmp_path, **ACTIVE, **offline)
        assert done.returncode == 2
        assert "a-package-that-nobody-has" in done.stderr  # pip's own message
        assert re.search(r"^error: .*wanted\.txt", done.stderr, re.MULTILINE)

    @pytest.mark.parametrize("active", [True, False])
    def test_only_an_environment_of_ours_is_held_to_the_pair_of_releases(self, tmp_path: Path, active: bool) -> None:
        binaries = tmp_path / ("active/bin" if active else ".venv/bin")
        # Something is missing, and what is asked for is noted.
        write_script(binaries / "python", 'echo "$*" >> calls; case "$*" in *--no-index*) exit 1;; esac')
        write_script(binaries / "uname", "echo Darwin")  # has no index of its own
        (tmp_path / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv/bin/activate").write_text('PATH="$PWD/.venv/bin"\n')
        variables = {"PATH": str(binaries), **({"VIRTUAL_ENV": str(binaries.parent)} if active else {})}
        done = bash("activate_environment; install_requirements a.txt b.txt", tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        calls = (tmp_path / "calls").read_text().splitlines()
        (installed,) = [call for call in calls if "pip install" in call and "--no-index" not in call]
        assert installed.endswith("--requirement a.txt --requirement b.txt")
        assert ("--constraint scripts/constraints.txt" in installed) != active

    @pytest.mark.parametrize(("offline", "online"), [(0, 1), (1, 0), (1, 1)])
    def test_the_command_is_installed_unless_it_is_there(self, tmp_path: Path, offline: int, online: int) -> None:
        binaries = tmp_path / "bin"
        write_script(
            binaries / "python",
            f'case "$*" in *get_path*) echo {binaries};; *sys.prefix*) echo {tmp_path};; '
            f"*--no-index*--no-build-isolation*) echo offline >> calls; exit {offline};; "
            f'*"pip install"*) echo online >> calls; exit {online};; esac',
        )
        done = bash("install_command", tmp_path, PATH=str(binaries))
        assert done.returncode == 0
        assert (tmp_path / "calls").read_text().split() == ["offline", "online"][: 1 + offline]
        assert ("could not be installed" in done.stderr) == bool(offline and online)
        write_script(binaries / "dygait", "")
        (tmp_path / "calls").unlink()
        assert bash("install_command", tmp_path, PATH=str(binaries)).stderr == ""
        assert not (tmp_path / "calls").exists()

    def test_without_a_python_the_message_says_what_is_needed(self, tmp_path: Path) -> None:
        done = bash("activate_environment", tmp_path, PATH=str(tmp_path))
        assert done.returncode == 2
        assert re.search(r"error: no Python 3\.10.*python3-venv", done.stderr)


def test_the_workflow_runs_at_both_ends_of_what_is_admitted() -> None:
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/tests.yml").read_text())
    oldest, newest = workflow["jobs"]["test"]["strategy"]["matrix"]["include"]
    required = dict(re.findall(r"^(\w+)>=([\d.]+)", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE))
    pinned = dict(re.findall(r"^(\w+)==(.+)$", (REPOSITORY / "scripts/constraints.txt").read_text(), re.MULTILINE))
    for package in ("torch", "torchvision"):
        assert oldest[package] == f"{required[package]}.0"
        assert newest[package] == pinned[package]
    assert (oldest["python"], newest["python"]) == ("3.10", "3.13")


@pytest.mark.parametrize(
    ("user", "apt", "variables", "message", "ran"),
    [
        (0, "true", {}, "", False),
        (1000, "true", {"CI": "true"}, "no apt-get as root", False),
        (0, "true", {"CI": "true"}, "installing chromium", True),
        (0, "false", {"CI": "true"}, "chromium could not be installed", True),
    ],
)
def test_where_the_browser_is_installed(
    tmp_path: Path, user: int, apt: str, variables: dict[str, str], message: str, ran: bool
) -> None:
    """On continuous integration and nowhere else; and it is not worth a failure."""
    write_script(tmp_path / "id", f"echo {user}")
    write_script(tmp_path / "apt-get", f"touch {tmp_path / 'asked'}; {apt}")
    for name in ("bash", "sh", "timeout", "touch"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    done = bash("install_browser", tmp_path, PATH=str(tmp_path), **variables)
    assert done.returncode == 0
    assert message in done.stderr
    assert bool(done.stderr) == bool(message)
    assert (tmp_path / "asked").exists() == ran
