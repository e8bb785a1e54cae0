"""Partitions, built-in and from files, and their comparison with the ids on disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from dygait.data.partition import Partition, coverage, load_partition
from dygait.errors import UserError


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("CASIA-B", (74, "001", "074"), (50, "075", "124")),
        ("OUMVLP", (5153, "00001", "10305"), (5154, "00002", "10307")),
        ("GREW", (20000, "00001train", "20000train"), (6001, "00001", "probe")),
    ],
)
def test_built_in(name: str, train: tuple[Any, ...], test: tuple[Any, ...]) -> None:
    partition = load_partition(None, name)
    assert (len(partition.train), partition.train[0], partition.train[-1]) == train
    assert (len(partition.test), partition.test[0], partition.test[-1]) == test
    assert len({*partition.train, *partition.test}) == len(partition.train) + len(partition.test)
    assert (partition.name, partition.probe) == (name, None)
    assert load_partition(name, "Mine") == partition
    if name == "OUMVLP":
        assert {int(i) % 2 for i in partition.train} == {1}
        assert {int(i) % 2 for i in partition.test[:-1]} == {0}


def test_a_dataset_without_a_partition() -> None:
    with pytest.raises(UserError, match=r"data_cfg.dataset_partition: Gait3D .* CASIA-B, OUMVLP, GREW"):
        load_partition(None, "Gait3D")


class TestFiles:
    @staticmethod
    def write(tmp_path: Path, content: Any) -> str:
        path = tmp_path / "partition.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def test_sets(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, {"TRAIN_SET": ["b", "a"], "TEST_SET": ["c"]})
        assert load_partition(path, "Mine") == Partition(path, ("b", "a"), ("c",), None)
        content = {"TRAIN_SET": [], "TEST_SET": ["c"], "PROBE_SET": ["c-1-2"], "other": 1}
        assert load_partition(self.write(tmp_path, content), "Mine").probe == ("c-1-2",)
        empty = {"TRAIN_SET": ["a"], "TEST_SET": [], "PROBE_SET": []}
        assert load_partition(self.write(tmp_path, empty), "Mine").probe == ()
        assert load_partition(self.write(tmp_path, {"TEST_SET": ["c"]}), "Mine").train == ()
        assert load_partition(self.write(tmp_path, {"TRAIN_SET": ["a"]}), "Mine").test == ()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "JSON"),
            ("[]", "TRAIN_SET, .*, and TEST_SET"),
            ({"PROBE_SET": ["a"]}, "TRAIN_SET, .*, and TEST_SET"),
            ({"TRAIN_SET": "a", "TEST_SET": []}, "TRAIN_SET in .* list of strings"),
            ({"TRAIN_SET": [], "TEST_SET": [1, 2]}, "TEST_SET in .* list of strings"),
            ({"TRAIN_SET": [], "TEST_SET": [], "PROBE_SET": {}}, "PROBE_SET in .* list of strings"),
            ({"TRAIN_SET": ["a", "b"], "TEST_SET": ["c", "b"]}, "both sets.* b"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, content: Any, message: str) -> None:
        path = self.write(tmp_path, content)
        with pytest.raises(UserError, match=f"^data_cfg.dataset_partition: .*{message}") as caught:
            load_partition(path, "Mine")
        assert path in str(caught.value)

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no such file: \./no\.json$"):
            load_partition("./no.json", "Gait3D")
        with pytest.raises(UserError, match=r"no such file: \./no\.json; .*dataset_partition=null.*GREW"):
            load_partition("./no.json", "GREW")
        with pytest.raises(UserError, match="JSON"):
            load_partition(str(tmp_path), "Mine")


@pytest.mark.parametrize(
    ("ids", "lines"),
    [
        ([*"abcdefgh", "x", "y"], []),
        ([*"bcdefgh", "x", "z"], ["1 of 8 train ids are not on disk (a)", "1 of 2 test ids are not on disk (y)",
                                  "1 ids on disk are in neither set (z)"]),
        (["x", "y"], ["8 of 8 train ids are not on disk (a, b, c, d, e, ...)"]),
    ],
)  # fmt: skip
def test_coverage(ids: list[str], lines: list[str]) -> None:
    assert coverage(Partition("mine", tuple("abcdefgh"), ("x", "y")), ids) == lines
