"""The browser of continuous integration: installed there and nowhere else, and not worth a failure."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from experiments import REPOSITORY


def install_browser(folder: Path, user: int, apt: str, **variables: str) -> tuple[str, bool]:
    """Run the function as some user on a machine without chromedriver; returns what it says, and whether apt ran."""
    asked = folder / "asked"
    for name, script in (("id", f"echo {user}"), ("apt-get", f"touch {asked}; {apt}")):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    for name in ("bash", "sh", "timeout", "touch"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    done = subprocess.run(
        [folder / "bash", "-euo", "pipefail", "-c", "source scripts/environment.sh; install_browser"],
        cwd=REPOSITORY, env={"PATH": str(folder), **variables}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stderr, asked.exists()


@pytest.mark.parametrize(
    ("user", "apt", "variables", "words", "ran"),
    [
        (0, "true", {}, "", False),
        (1000, "true", {"CI": "true"}, "no apt-get as root", False),
        (0, "true", {"CI": "true"}, "installing chromium", True),
        (0, "false", {"CI": "true"}, "chromium could not be installed", True),
    ],
)
def test_where_it_is_installed(
    tmp_path: Path, user: int, apt: str, variables: dict[str, str], words: str, ran: bool
) -> None:
    said, asked = install_browser(tmp_path, user, apt, **variables)
    assert words in said
    assert bool(said) == bool(words)
    assert asked == ran
