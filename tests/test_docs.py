"""The documentation is correct: generated pages are current, and code and commands work.

scripts/site.sh, which builds the site, checks the links.
"""

import json
import re
import shlex
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from dygait import cli
from dygait.config import load_config
from dygait.data.partition import load_partition
from dygait.errors import UserError
from dygait.evaluation import PROTOCOLS, SUBMISSIONS, resolve_protocol
from dygait.training.checks import component_problems
from helpers.scripts import load_script

reference = load_script("generate_configuration_reference")
model_zoo = load_script("generate_model_zoo")
ROOT = Path(__file__).resolve().parents[1]
_GLOBS = ("*.md", "docs/**/*.md", "datasets/*.md", "datasets/*/*.md", "output/README.md")
PAGES = sorted(path.relative_to(ROOT).as_posix() for glob in _GLOBS for path in ROOT.glob(glob))
RUNS = re.compile(r"(?:lib/main\.py|^dygait (?:train|test)|train_(?:slurm|nodes)\.sh) (.*)")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks(page, "bash") for line in block.splitlines()]
    return [words for words in lines if words]


def runs(page: str) -> list[list[str]]:
    """Return the arguments of every call of the runner on a page, in shell blocks and inline code."""
    lines = [line.partition("#")[0] for block in blocks(page, "bash") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", text(page))
    calls = [match[1] for line in lines if (match := RUNS.search(line.strip()))]
    return [shlex.split(arguments) for arguments in calls if "--cfgs" in arguments]


def test_the_configuration_reference_is_current():
    assert text("docs/configuration.md") == reference.document(), (
        "run: python scripts/generate_configuration_reference.py"
    )


def test_the_tables_of_published_results_are_current():
    assert text("docs/model_zoo.md") == model_zoo.document(), "run: python scripts/generate_model_zoo.py"
    assert "| GaitSet (2019) | 95.0 / 87.2 / 70.4 | 87.1 |" in text("docs/model_zoo.md")


def test_every_declared_key_and_keyword_has_a_meaning():
    empty = [line for line in reference.document().splitlines() if re.match(r"\| `\w+` \|.*\|  \|$", line)]
    assert not empty


@pytest.mark.parametrize("page", PAGES)
def test_bash_understands_every_block(page):
    for block in blocks(page, "bash"):
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{block}\n{result.stderr}"


@pytest.mark.parametrize("words", [words for page in PAGES for words in commands(page)], ids=" ".join)
def test_commands_are_accepted_and_their_files_exist(words, monkeypatch):
    monkeypatch.setattr(cli, "_exit_code", lambda command: 0)  # do not run the command
    if words[0] == "dygait":
        assert cli.main(words[1:]) == 0
    if "lib/main.py" in words:
        assert cli.runner(words[words.index("lib/main.py") + 1 :]) == 0
    for position, word in enumerate(words):
        if not re.match(r"(\./)?(scripts|lib|configs|tests)/", word):
            continue
        assert (ROOT / word).exists()
        if word.startswith("scripts/") and word.endswith(".py"):
            source = (ROOT / word).read_text(encoding="utf-8")
            source += (ROOT / "scripts" / "cells.py").read_text(encoding="utf-8") * ("\nimport cells\n" in source)
            flags = [flag.partition("=")[0] for flag in words[position + 1 :] if flag.startswith("--")]
            assert [flag for flag in flags if f'"{flag}"' not in source] == []


def test_the_code_of_the_page_on_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("docs/python.md", "python")
    exec(compile(code, "python.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_name_configurations_and_keys_that_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for arguments in runs(page):
        config = arguments[arguments.index("--cfgs") + 1]
        if f": `{config}`" in text(page):
            continue  # written by the page; tests/test_adding.py runs it
        if config.startswith("../OpenGait/"):
            config = str(ROOT / "tests" / "assets" / "opengait" / Path(config).name)  # a copy of its keys
        overrides = [value for option, value in pairwise(arguments) if option == "--set"]
        load_config(config, overrides, [partial(component_problems, phase="test")])


def test_overrides_that_the_pages_mention_are_accepted():
    mentioned = {
        o for page in PAGES for o in re.findall(r"--set \"?([a-z_]+\.[\w.]+=[^`\s\"]+(?: \d+\])?)", text(page))
    }
    assert mentioned
    # Those in commands are checked above, with the configuration of the command.
    in_commands = {
        value for page in PAGES for line in runs(page) for option, value in pairwise(line) if option == "--set"
    }
    for override in mentioned - in_commands - {"section.key=value"}:
        config = "Dygait_GREW.yaml" if "eval_func" in override else "Dygait_CASIA-B.yaml"
        load_config(ROOT / "configs" / config, [override], [partial(component_problems, phase="test")])


def test_the_partition_file_of_casia_b_is_the_built_in_one():
    content = json.loads(text("datasets/CASIA-B/CASIA-B.json"))
    built_in = load_partition(None, "CASIA-B")
    assert (tuple(content["TRAIN_SET"]), tuple(content["TEST_SET"])) == (built_in.train, built_in.test)


def test_evaluators_documented_as_not_implemented_are_errors():
    page = text("docs/opengait.md")
    for name in ("evaluate_segmentation",):
        assert f"`{name}`" in page
        with pytest.raises(UserError, match="not implemented"):
            resolve_protocol(name, "CASIA-B")


def test_the_table_of_protocols_names_each_and_the_functions_that_choose_it():
    table = text("docs/evaluation.md").partition("## Definitions")[0]
    rows = re.findall(r"^\| `([\w/-]+)`.*\| ?([^|]*) ?\|$", table, re.MULTILINE)
    functions_of = {protocol: re.findall(r"`(\w+)`", functions) for protocol, functions in rows}
    assert set(functions_of) == {*PROTOCOLS.names(), *SUBMISSIONS}
    for protocol, functions in functions_of.items():
        for function in functions:
            assert resolve_protocol(function, protocol.partition("/")[0]) == protocol
