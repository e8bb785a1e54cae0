"""Shards of an interrupted extraction: damaged, unfinished and unrelated files are removed."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from dygait.errors import UserError
from dygait.evaluation.features import Rows
from dygait.evaluation.shards import Shards

RNG = np.random.default_rng(0)


def rows(*indices: int, gei: bool = True) -> Rows:
    count = len(indices)
    images = RNG.random((count, 4, 3), np.float32) if gei else None
    return Rows(np.array(indices), RNG.integers(1, 9, count), RNG.random((count, 3, 2), np.float32), images)


def equal(first: Rows, second: Rows) -> bool:
    return all(
        (a is None and b is None) or np.array_equal(a, b)  # type: ignore[arg-type]
        for a, b in zip(first, second, strict=True)
    )


def prune(folder: Path, key: str = "k") -> tuple[dict[str, list[int]], list[str]]:
    messages: list[str] = []
    return Shards(folder, key).prune(messages.append), messages


@pytest.mark.parametrize("gei", [True, False])
def test_round_trip(tmp_path: Path, gei: bool) -> None:
    shards, written = Shards(tmp_path, "k"), [rows(4, 0, gei=gei), rows(2, gei=gei)]
    assert shards.write([0, 3], written[0]) == "000000"
    assert shards.write([1], written[1]) == "000001"
    assert prune(tmp_path) == ({"000000": [0, 3], "000001": [1]}, [])
    assert all(
        equal(shards.read(name)[1], expected) for name, expected in zip(("000000", "000001"), written, strict=True)
    )


def test_damage_at_any_byte_is_detected(tmp_path: Path) -> None:
    shards, intact = Shards(tmp_path, "k"), rows(1)
    damaged = rows(0, 3)
    shards.write([2], damaged)
    shards.write([4], intact)
    path = shards.path("000002")
    complete = path.read_bytes()
    for index in range(0, len(complete), 7):
        content = bytearray(complete)
        content[index] ^= 1
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            loaded = shards.read("000002")
            assert loaded[0] == [2]
            assert equal(loaded[1], damaged), "only the time of a zip member may differ"
    path.write_bytes(complete[:-1])
    remaining, messages = prune(tmp_path)
    assert remaining == {"000004": [4]}
    assert "000002.npz is damaged" in messages[0]
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"000004"}
    assert equal(shards.read("000004")[1], intact)


def test_files_unfinished_or_of_another_extraction_are_removed(tmp_path: Path) -> None:
    Shards(tmp_path, "k").write([0], rows(1))
    Shards(tmp_path, "old").write([1], rows(1))
    (tmp_path / "000000.npz").unlink()
    (tmp_path / ".000003.npz.77").write_bytes(b"half")
    (tmp_path / ".lock").touch()
    remaining, (message,) = prune(tmp_path)
    assert not remaining
    assert "belongs to another extraction" in message
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
