"""Run the commands and files of the pages on adding a model, a dataset and a protocol."""

import json
import re
import shlex
from pathlib import Path
from unittest import mock

import cv2
import pytest

from conftest import make_tree
from dygait import cli, machine
from dygait.config import load_config
from dygait.data.stores import read_pickle
from dygait.errors import UserError
from dygait.modeling import MODELS
from helpers.experiments import REPOSITORY


def blocks(page: str, language: str) -> list[str]:
    text = (REPOSITORY / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def follow(page: str) -> None:
    with mock.patch.object(machine, "available_cores", return_value=1):
        for line in "".join(blocks(page, "bash")).splitlines():
            program, *arguments = shlex.split(line)
            assert program == "dygait"
            assert cli.main(arguments) == 0, line


def write_blocks(page: str, **files: str) -> None:
    text = (REPOSITORY / "docs" / page).read_text()
    for language, name in files.items():
        assert f"`{name}`" in text
        (block,) = blocks(page, language)
        Path(name).write_text(block)


def test_adding_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))  # undo what the page registers
    make_tree(Path("data"), types=("nm-01", "nm-05"))
    Path("split.json").write_text(json.dumps({"TRAIN_SET": ["001", "002"], "TEST_SET": ["003", "004"]}))
    write_blocks("adding_a_model.md", python="energy.py", yaml="energy.yaml")
    follow("adding_a_model.md")
    output = capsys.readouterr()
    assert f"custom_imports executes the code of {tmp_path / 'energy.py'}" in output.err
    assert f"the code of {tmp_path / 'energy.py'} was executed" in output.out
    folder = tmp_path / "output" / "CASIA-B" / "EnergyNet" / "energy"
    assert (folder / "checkpoints" / "energy-00004.pt").is_file()
    assert "rank-1" in output.out


def write_masks(root: Path, people: tuple[str, ...], days: tuple[str, ...], views: tuple[str, ...]) -> None:
    tree = make_tree(root.with_suffix(".pickles"), people, days, views, (6, 7))
    for file in tree.rglob("*.pkl"):
        folder = root / file.parent.relative_to(tree)
        folder.mkdir(parents=True)
        for number, frame in enumerate(read_pickle(file)):
            cv2.imwrite(str(folder / f"{number:03d}.png"), frame)


def test_adding_a_dataset_and_a_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    people = ("anna", "ben", "carla", "dora", "emil")
    write_masks(Path("masks"), people, ("day1", "day2"), ("cam1", "cam2"))
    write_blocks("adding_a_dataset.md", json="split.json", yaml="corridor.yaml")
    follow("adding_a_dataset.md")
    assert len(list(Path("data").rglob("*.pkl"))) == 20
    assert "second day" in capsys.readouterr().out
    (protocol,) = blocks("adding_a_protocol.md", "yaml")
    Path("protocol.yaml").write_text(protocol)
    follow("adding_a_protocol.md")
    assert "mAP" in capsys.readouterr().out
    write_masks(Path("yard"), ("fay", "gus"), ("walk1", "walk2"), ("gate",))
    write_blocks("testing_on_new_data.md", json="yard.json", yaml="yard.yaml")
    follow("testing_on_new_data.md")
    output = capsys.readouterr().out
    assert "GEI nearest neighbour" in output
    assert "second walk" in output
    assert "second day" not in output


class TestCustomImports:
    def config(self, folder: Path, imports: str) -> Path:
        path = folder / "mine.yaml"
        path.write_text(
            f"custom_imports: {imports}\ndata_cfg: {{dataset_name: CASIA-B, dataset_root: .}}\n"
            "model_cfg: {model: DyGait, channels: [2, 2, 2]}\n"
        )
        return path

    def test_a_file_runs_once_and_is_found_beside_the_configuration(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'runs')!r}, 'a').write('once')\n")
        path = self.config(tmp_path, "[mine.py]")
        for _ in range(2):
            assert load_config(path).custom_imports == [str(tmp_path / "mine.py")]
        assert (tmp_path / "runs").read_text() == "once"

    def test_set_is_relative_to_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "here" / "other.py").write_text("")
        monkeypatch.chdir(tmp_path / "here")
        imports = load_config(self.config(tmp_path, "[]"), ["custom_imports=[other.py]"]).custom_imports
        assert imports == [str(tmp_path / "here" / "other.py")]

    @pytest.mark.parametrize(
        ("imports", "message"),
        [
            ("[none.py]", r"none\.py is not a Python file"),
            ("[broken.py]", r"custom_imports: .*broken\.py raises ZeroDivisionError"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, imports: str, message: str) -> None:
        (tmp_path / "broken.py").write_text("1 / 0\n")
        with pytest.raises(UserError, match=message):
            load_config(self.config(tmp_path, imports))
