"""Shards: what is kept of an interrupted extraction is whole and its own."""

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


def same(one: Rows, other: Rows) -> bool:
    return all(
        (a is None and b is None) or np.array_equal(a, b)  # type: ignore[arg-type]
        for a, b in zip(one, other, strict=True)
    )


def kept(folder: Path, key: str = "k") -> tuple[dict[str, list[int]], list[str]]:
    messages: list[str] = []
    return Shards(folder, key).prune(messages.append), messages


@pytest.mark.parametrize("gei", [True, False])
def test_round_trip(tmp_path: Path, gei: bool) -> None:
    shards, written = Shards(tmp_path, "k"), [rows(4, 0, gei=gei), rows(2, gei=gei)]
    assert shards.write([0, 3], written[0]) == "000000"
    assert shards.write([1], written[1]) == "000001"
    assert kept(tmp_path) == ({"000000": [0, 3], "000001": [1]}, [])
    assert all(same(shards.read(name)[1], own) for name, own in zip(("000000", "000001"), written, strict=True))


def test_damage_is_found_wherever_it_is(tmp_path: Path) -> None:
    shards, good = Shards(tmp_path, "k"), rows(1)
    damaged = rows(0, 3)
    shards.write([2], damaged)
    shards.write([4], good)
    path = shards.path("000002")
    whole = path.read_bytes()
    for index in range(0, len(whole), 7):
        content = bytearray(whole)
        content[index] ^= 1
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            found = shards.read("000002")
            assert found[0] == [2]
            assert same(found[1], damaged), "what a member's time is does not matter"
    path.write_bytes(whole[:-1])
    kept_shards, messages = kept(tmp_path)
    assert kept_shards == {"000004": [4]}
    assert "000002.npz is damaged" in messages[0]
    assert {path.name.partition(".")[0] for path in tmp_path.iterdir()} == {"000004"}
    assert same(shards.read("000004")[1], good)


def test_what_is_unfinished_or_of_another_extraction_goes(tmp_path: Path) -> None:
    Shards(tmp_path, "k").write([0], rows(1))
    Shards(tmp_path, "old").write([1], rows(1))
    (tmp_path / "000000.npz").unlink()
    (tmp_path / ".000003.npz.77").write_bytes(b"half")
    (tmp_path / ".lock").touch()
    found, (message,) = kept(tmp_path)
    assert not found
    assert "belongs to another extraction" in message
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
