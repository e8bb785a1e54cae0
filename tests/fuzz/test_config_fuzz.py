"""Damaged, altered and hostile configurations give a `Config` or a `UserError`."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dygait.config import load_config, save_config
from dygait.config.schema import Config
from dygait.errors import UserError
from dygait.training.checks import component_problems
from helpers.experiments import tiny_settings
from helpers.fuzzing import altered, cases, damaged, in_time

pytestmark = pytest.mark.usefixtures("bounded_memory")

SETTINGS = tiny_settings(Path("data"), Path("partition.json"))
WORDS = [
    word.encode()
    for word in (
        "&a ", "*a", "<<: *a\n", "<<: [*a, *a]\n", "? ", "? [a]\n: b\n", "- ", "[", "]", "{", "}", ": ", "| \n",
        ">-\n", "%YAML 1.1\n", "---\n", "...\n", "!!binary ", "!!int ", "!!int ''", "!!bool x", "!!float ''",
        "!!timestamp x", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]",
        "!!python/object/apply:os.system [touch sentinel]\n", "!!python/name:os.system ", "!a ", "1e999", ".nan",
        ".inf", "0x", "0b_", "1:60:60", "2001-13-45", "9", "\t", "\x85", "\u2028", "\x00", "\ufeff", '"\\ud800"', "=",
        "~", "base: ../..\n", "base: /dev/zero\n", "custom_imports: [no/such.py]\n",
        "trainer_cfg: {save_name: ../up}\n", "data_cfg:\n", "model_cfg: 1\n", "#", "\r", "'", '"',
    )
]  # fmt: skip
SEEDS = [
    yaml.safe_dump(SETTINGS, sort_keys=False).encode(),
    yaml.safe_dump(SETTINGS, default_flow_style=True).encode(),
    b"a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\n",
]


KEYS = ["trainer_cfg", "data_cfg.dataset_name", "loss_cfg.0.margin", "loss_cfg.9.margin", "a.b.c", ".", "=", "base"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configs")


def outcome(folder: Path, content: bytes, *overrides: str) -> Config | str:
    path = folder / "mine.yaml"
    path.write_bytes(content)
    try:
        with in_time():
            config = load_config(path, overrides, [partial(component_problems, phase="train")])
    except UserError as error:
        return str(error)
    name = config.trainer_cfg.save_name
    assert (folder / name).resolve().parent == folder.resolve()
    saved = folder / "saved.yaml"
    save_config(config, saved)
    with in_time():
        assert load_config(saved).as_dict() == config.as_dict(), "the saved configuration is the loaded one"
    return config


@cases
@given(damaged(SEEDS, WORDS))
def test_damaged_text(folder: Path, content: bytes) -> None:
    outcome(folder, content)


@cases
@given(altered(SETTINGS))
def test_altered_structures(folder: Path, content: Any) -> None:
    outcome(folder, yaml.safe_dump(content, sort_keys=False, allow_unicode=False).encode())


@cases
@given(
    st.one_of(st.sampled_from(KEYS), st.text(max_size=5)),
    st.one_of(st.text(max_size=12), st.lists(st.sampled_from(WORDS), max_size=4).map(lambda w: b"".join(w).decode())),
)
def test_overrides(folder: Path, key: str, value: str) -> None:
    outcome(folder, SEEDS[0], f"{key}={value}")


def laughs(text: str, times: int = 30) -> str:
    lines = [f"a0: &a0 {text}"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, times))])


HOSTILE = {
    "a number for an optimiser's key": "optimizer_cfg: {1: 2}",
    "a list for a protocol": "evaluator_cfg: {eval_func: []}",
    "a list for a test's dataset": "data_cfg: {dataset_name: CASIA-B, test_dataset_name: [1]}",
    "a list for a backbone": "model_cfg: {model: GaitBase, backbone_cfg: {type: []}, SeparateFCs: {in_channels: 1, "
    "out_channels: 1, parts_num: 1}, SeparateBNNecks: {class_num: 1, in_channels: 1, parts_num: 1}}",
    "a billion laughs": laughs("ha"),
    "a billion merges": "a0: &a0 {k0: 1}\n"
    + "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}" for n in range(1, 30)),
    "a billion laughs in model_cfg": "model_cfg: {model: DyGait, x: &a [1, 1]}\n"
    + laughs("ha").replace("a0: &a0 ha", "a0: &a0 [ha]"),
    "a list in itself": "data_cfg: &a [*a]",
    "a mapping in itself": "data_cfg: &a {b: *a}",
    "itself merged": "&a {<<: *a}",
    "deep": "data_cfg: " + "[" * 100_000,
    "deep and closed": "data_cfg: " + "[" * 500 + "]" * 500,
    "deep keys": "? " * 5000,
    "a number of many digits": "seed: " + "9" * 100_000,
    "a number in base sixty": "a: " + "1" + ":59" * 20_000,
    "large": "a: " + "x" * 2**21,
    "a key that is a list": "? [a, b]\n: c",
    "half a character": 'data_cfg: {dataset_name: "\\ud800"}',
    "not UTF-8": b"data_cfg: \xff\xfe",
    "a program": "!!python/object/apply:os.system ['touch sentinel']",
    "a device for a base": "base: /dev/zero",
    "a null byte for a base": 'base: "\\0"',
    "an endless name": "base: " + "a" * 5000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configuration(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    content = HOSTILE[name]
    error = outcome(folder, content if isinstance(content, bytes) else content.encode())
    assert isinstance(error, str)
    assert len(error) < 12_000
    assert not (folder / "sentinel").exists()


@pytest.mark.parametrize("name", ["../up", "/tmp/x", "a\\b", "..", "", "a\0b", "a" * 300, "a\nb", "\u202eb"])
@pytest.mark.parametrize("key", ["data_cfg.dataset_name", "trainer_cfg.save_name", "evaluator_cfg.save_name"])
def test_no_name_leaves_the_output_folder(folder: Path, key: str, name: str) -> None:
    section, part = key.split(".")
    content = {**SETTINGS, section: {**SETTINGS[section], part: name}}
    error = outcome(folder, yaml.safe_dump(content).encode())
    assert isinstance(error, str)
    assert f"{part}" in error


def test_a_pipe_is_not_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe.yaml")
    with in_time(), pytest.raises(UserError, match="not a regular file"):
        load_config(folder / "pipe.yaml")
