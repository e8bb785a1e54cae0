"""The README's shell commands: bash and our own parsers understand them, and the scripts that they name are there.

That the configurations and keys in them exist, on every page, is in test_docs.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from dygait import cli
from dygait.engine import score
from dygait.engine.profiling import command as profiling
from dygait.engine.report import command as report
from experiments import REPOSITORY

BLOCKS = re.findall(r"^```bash\n(.*?)^```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.M | re.S)


def commands() -> Iterator[list[str]]:
    """Yield the words of every command in the README's blocks of shell; lines that end in a backslash go on."""
    for block in BLOCKS:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


COMMANDS = list(commands())


def test_bash_understands_every_block() -> None:
    bash = shutil.which("bash")
    assert bash
    assert BLOCKS
    for block in BLOCKS:
        done = subprocess.run([bash, "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever we can parse, we parse: with the runner, with `dygait`, or by looking for the script."""
    ran = []
    monkeypatch.setattr(cli, "run", lambda phase, arguments: ran.append(phase) or 0)
    monkeypatch.setattr(cli, "_synth", lambda arguments: ran.append("synth") or 0)
    monkeypatch.setattr(cli, "_prepare", lambda arguments: ran.append("prepare") or 0)
    monkeypatch.setattr(score, "main", lambda arguments: ran.append("evaluate") or 0)
    monkeypatch.setattr(profiling, "main", lambda arguments: ran.append("profile") or 0)
    monkeypatch.setattr(report, "main", lambda arguments: ran.append("report") or 0)
    if "lib/main.py" in words:
        assert cli.runner(words[words.index("lib/main.py") + 1 :]) == 0
        assert ran in (["train"], ["test"])
    elif words[0] == "dygait":
        assert cli.main(words[1:]) == 0
        assert ran == [words[1]]
    for word in words:
        if re.match(r"(\./)?(scripts|lib|configs)/", word):
            assert (REPOSITORY / word).is_file(), word
    scripts = [at for at, word in enumerate(words) if word.startswith("scripts/") and word.endswith(".py")]
    for at in scripts:
        source = (REPOSITORY / words[at]).read_text(encoding="utf-8")
        for flag in (word.partition("=")[0] for word in words[at + 1 :] if word.startswith("--")):
            assert f'"{flag}"' in source, flag


def test_the_first_two_commands() -> None:
    assert COMMANDS[:2] == [["bash", "scripts/quickstart.sh"], ["bash", "scripts/test.sh"]]
