from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dygait.data import Partition, coverage, load_partition
from dygait.errors import UserError


class TestRules:
    def test_casia_b(self) -> None:
        found = load_partition(None, "CASIA-B")
        assert (len(found.train), found.train[0], found.train[-1]) == (74, "001", "074")
        assert (len(found.test), found.test[0], found.test[-1]) == (50, "075", "124")
        assert found.probe is None

    def test_oumvlp(self) -> None:
        found = load_partition(None, "OUMVLP")
        assert (len(found.train), found.train[0], found.train[-1]) == (5153, "00001", "10305")
        assert (len(found.test), found.test[0], found.test[-2:]) == (5154, "00002", ("10306", "10307"))
        assert all(int(i) % 2 == 1 for i in found.train)
        assert all(int(i) % 2 == 0 for i in found.test[:-1])

    def test_grew(self) -> None:
        found = load_partition(None, "GREW")
        assert (len(found.train), found.train[0], found.train[-1]) == (20000, "00001train", "20000train")
        assert (len(found.test), found.test[0], found.test[-2:]) == (6001, "00001", ("06000", "probe"))

    @pytest.mark.parametrize("name", ["CASIA-B", "OUMVLP", "GREW"])
    def test_nobody_is_there_twice(self, name: str) -> None:
        found = load_partition(None, name)
        assert found.name == name
        assert len({*found.train, *found.test}) == len(found.train) + len(found.test)

    def test_a_rule_by_name_for_a_dataset_of_another(self) -> None:
        assert load_partition("CASIA-B", "SynGait") == load_partition(None, "CASIA-B")
        assert load_partition("GREW", "CASIA-B").name == "GREW"

    def test_a_dataset_without_a_rule(self) -> None:
        with pytest.raises(UserError) as caught:
            load_partition(None, "Gait3D")
        assert str(caught.value) == (
            "data_cfg.dataset_partition: Gait3D has no built-in partition; give the path of its JSON file "
            "(built in: CASIA-B, OUMVLP, GREW)"
        )


class TestFiles:
    @staticmethod
    def write(tmp_path: Path, content: Any) -> str:
        path = tmp_path / "partition.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def test_sets(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, {"TRAIN_SET": ["b", "a"], "TEST_SET": ["c"]})
        assert load_partition(path, "Mine") == Partition(path, ("b", "a"), ("c",), None)

    def test_probes(self, tmp_path: Path) -> None:
        content = {"TRAIN_SET": [], "TEST_SET": ["c"], "PROBE_SET": ["c-1-2"], "other": 1}
        assert load_partition(self.write(tmp_path, content), "Mine").probe == ("c-1-2",)
        empty = {"TRAIN_SET": ["a"], "TEST_SET": [], "PROBE_SET": []}
        assert load_partition(self.write(tmp_path, empty), "Mine").probe == ()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "JSON"),
            ("[]", "TRAIN_SET and TEST_SET"),
            ({"TRAIN_SET": ["a"]}, "TRAIN_SET and TEST_SET"),
            ({"TRAIN_SET": "a", "TEST_SET": []}, "TRAIN_SET in .* list of strings"),
            ({"TRAIN_SET": [], "TEST_SET": [1, 2]}, "TEST_SET in .* list of strings"),
            ({"TRAIN_SET": [], "TEST_SET": [], "PROBE_SET": {}}, "PROBE_SET in .* list of strings"),
            ({"TRAIN_SET": ["a", "b"], "TEST_SET": ["c", "b"]}, "both sets.* b"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, content: Any, message: str) -> None:
        path = self.write(tmp_path, content)
        with pytest.raises(UserError, match=message) as caught:
            load_partition(path, "Mine")
        assert str(caught.value).startswith("data_cfg.dataset_partition: ")
        assert path in str(caught.value)

    def test_no_such_file(self) -> None:
        with pytest.raises(UserError, match=r"no such file: \./no\.json$"):
            load_partition("./no.json", "Gait3D")
        with pytest.raises(UserError, match=r"no such file: \./no\.json; .*dataset_partition=null.*GREW"):
            load_partition("./no.json", "GREW")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="JSON"):
            load_partition(str(tmp_path), "Mine")


class TestCoverage:
    partition = Partition("mine", tuple("abcdefgh"), ("x", "y"))

    def test_all_is_there(self) -> None:
        assert coverage(self.partition, [*"abcdefgh", "x", "y"]) == []

    def test_what_is_missing_is_counted(self) -> None:
        assert coverage(self.partition, [*"bcdefgh", "x", "z"]) == [
            "1 of 8 train ids are not on disk (a)",
            "1 of 2 test ids are not on disk (y)",
            "1 ids on disk are in neither set (z)",
        ]

    def test_long_lists_are_cut(self) -> None:
        assert coverage(self.partition, ["x", "y"]) == ["8 of 8 train ids are not on disk (a, b, c, d, e, ...)"]
