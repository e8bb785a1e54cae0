"""The packed store: round trip, damage and interruption."""

import json
import pickle
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait import files
from dygait.data.stores import PackedStore, PackedWriter, open_store, packed_format, packed_writer
from dygait.errors import UserError

Key = tuple[str, str, str]
RNG = np.random.default_rng(0)
WALKS: dict[Key, np.ndarray] = {
    (person, kind, view): RNG.integers(0, 256, (int(RNG.integers(1, 9)), 6, 4), dtype=np.uint8)
    for person in ("001", "002")
    for kind in ("bg-01", "nm-01")
    for view in ("000", "090")
}
NEW_WALKS: dict[Key, np.ndarray] = {
    ("003", "nm-01", "000"): np.full((3, 6, 4), 9, np.uint8),
    ("000", "nm-01", "000"): WALKS["001", "nm-01", "000"],
}


def write_store(root: Path, walks: Mapping[Key, np.ndarray] = WALKS) -> PackedStore:
    with PackedWriter(root, "a test") as writer:
        for key, frames in walks.items():
            writer.write(*key, frames)
    return PackedStore(root)


def check(store: PackedStore, walks: Mapping[Key, np.ndarray]) -> None:
    assert store.table.all_keys() == sorted(walks)
    for index, key in enumerate(sorted(walks)):
        assert np.array_equal(store.read(index), walks[key])
        assert store.verify(index) == len(walks[key])
    assert store.lengths(np.arange(len(walks))).tolist() == [len(walks[key]) for key in sorted(walks)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_store(tmp_path / "store")
    return tmp_path / "store"


class TestReading:
    @pytest.mark.parametrize(("shard_bytes", "shards"), [(1, 8), (400, 3), (2**31, 1)])
    def test_sequences_are_read_in_order(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int, shards: int
    ) -> None:
        monkeypatch.setattr(packed_writer, "SHARD_BYTES", shard_bytes)
        check(write_store(tmp_path / "s", dict(reversed(WALKS.items()))), WALKS)
        assert len(list((tmp_path / "s").glob("frames-*.bin"))) == shards
        assert isinstance(open_store(tmp_path / "s"), PackedStore)

    def test_frames_are_mapped_and_read_only(self, root: Path) -> None:
        frames = PackedStore(root).read(0)
        assert not frames.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            frames[0, 0, 0] = 1

    def test_several_files_of_a_sequence(self, tmp_path: Path) -> None:
        with PackedWriter(tmp_path) as writer:
            for name, level in (("b.pkl", 2), ("a.pkl", 1)):
                writer.write("001", "nm-01", "000", np.full((level, 2, 2), level, np.uint8), name)
            writer.write("002", "nm-01", "000", np.zeros((7, 2, 2), np.uint8))
        store = PackedStore(tmp_path)
        assert [store.num_files(0), store.num_files(1)] == [2, 1]
        assert [store.read(0, file).max() for file in (0, 1)] == [1, 2]
        assert store.lengths(np.array([1, 0]), 1).tolist() == [7, 2]
        assert store.location(0, 1).endswith("001/nm-01/000/b.pkl")

    def test_frames_of_several_channels(self, tmp_path: Path) -> None:
        maps = RNG.integers(0, 256, (3, 2, 6, 4), np.uint8)
        walks = {("1", "a", "0"): maps, ("1", "a", "1"): WALKS["001", "nm-01", "000"]}
        store = write_store(tmp_path / "s", walks)
        check(store, walks)
        assert list(store.geometries(np.arange(2))) == [(6, 4)]
        check(write_store(tmp_path / "s", NEW_WALKS), {**walks, **NEW_WALKS})

    def test_it_can_be_pickled_and_copied(self, root: Path, tmp_path: Path) -> None:
        store = PackedStore(root)
        store.read(0)
        check(pickle.loads(pickle.dumps(store)), WALKS)
        copy = PackedStore(shutil.copytree(root, tmp_path / "copy"))
        check(copy, WALKS)
        assert copy.fingerprint == store.fingerprint

    def test_the_fingerprint_is_of_the_content(self, tmp_path: Path) -> None:
        fingerprint = write_store(tmp_path / "one").fingerprint
        assert write_store(tmp_path / "two", dict(reversed(WALKS.items()))).fingerprint == fingerprint
        changed = {**WALKS, ("001", "bg-01", "000"): WALKS["001", "bg-01", "000"] ^ 1}
        assert write_store(tmp_path / "three", changed).fingerprint != fingerprint
        renamed = {(i.replace("002", "003"), t, v): f for (i, t, v), f in WALKS.items()}
        assert write_store(tmp_path / "four", renamed).fingerprint != fingerprint

    def test_an_empty_store(self, tmp_path: Path) -> None:
        store = write_store(tmp_path / "s", {})
        assert len(store.table) == 0
        assert store.table.indices({"001"}).tolist() == []


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_are_read_and_appended_to(root: Path, version: int) -> None:
    """Rows and manifest of version 1 refer to one more file; neither version has channels."""
    fingerprint = PackedStore(root).fingerprint
    rows, manifest = np.load(root / "index-1.npy"), json.loads((root / "store.json").read_text())
    old_rows = np.zeros(len(rows), packed_format.ROWS[version])
    for field in packed_format.ROWS[2].names or ():
        old_rows[field] = rows[field]
    if version == 1:
        old_rows["envelope_size"] = 7
    np.save(root / "index-1.npy", old_rows)
    (root / "envelopes.bin").write_bytes(bytes(7))
    manifest |= {"version": version, "envelopes": 7}
    manifest["checksums"]["index-1.npy"] = zlib.crc32((root / "index-1.npy").read_bytes())
    (root / "store.json").write_text(json.dumps(manifest))

    check(PackedStore(root), WALKS)
    assert PackedStore(root).fingerprint == fingerprint
    check(write_store(root, NEW_WALKS), {**WALKS, **NEW_WALKS})
    assert PackedStore(root).manifest.version == packed_format.VERSION


class TestWriting:
    @pytest.mark.parametrize(
        ("key", "frames", "message"),
        [
            (("a", "b", "c"), np.zeros((0, 2, 2), np.uint8), "S >= 1 is needed"),
            (("a", "b", "c"), np.zeros((2, 2), np.uint8), r"uint8 \(2, 2\)"),
            (("a", "b", "c"), np.zeros((1, 2, 2)), "float64"),
            (("..", "b", "c"), np.zeros((1, 2, 2), np.uint8), "cannot be the name"),
        ],
    )
    def test_invalid_sequences(self, root: Path, key: Key, frames: np.ndarray, message: str) -> None:
        with PackedWriter(root) as writer, pytest.raises(UserError, match=message):
            writer.write(*key, frames)
        check(PackedStore(root), WALKS)

    def test_strided_frames(self, tmp_path: Path) -> None:
        frames = RNG.integers(0, 256, (4, 6, 8), dtype=np.uint8)[::2, :, ::-2]
        check(write_store(tmp_path, {("a", "b", "c"): frames}), {("a", "b", "c"): frames})

    def test_appending_and_replacing(self, root: Path) -> None:
        new = {**NEW_WALKS, ("001", "nm-01", "000"): WALKS["001", "bg-01", "090"]}
        with PackedWriter(root) as writer:
            assert writer.contains("001", "nm-01", "000")
            assert not writer.contains("003", "nm-01", "000")
            for key, frames in new.items():
                writer.write(*key, frames)
        check(PackedStore(root), {**WALKS, **new})
        assert PackedStore(root).manifest.source == "a test"
        assert {p.name for p in root.iterdir()} == {
            ".lock", "store.json", "frames-00000.bin", "index-2.npy", "names-2.json",
        }  # fmt: skip

    def test_without_anything_new_nothing_is_written(self, root: Path) -> None:
        before = {p.name: p.stat().st_mtime_ns for p in root.iterdir() if p.name != ".lock"}
        PackedWriter(root).close()
        assert {p.name: p.stat().st_mtime_ns for p in root.iterdir() if p.name != ".lock"} == before

    def test_commits_at_intervals(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packed_writer, "COMMIT_SECONDS", -1.0)
        writer = PackedWriter(tmp_path)
        for key, frames in NEW_WALKS.items():
            writer.write(*key, frames)
        check(PackedStore(tmp_path), NEW_WALKS)
        writer.close()

    @pytest.mark.parametrize("step", ["frames", "index", "names", "store", "cleanup"])
    def test_an_interrupted_writer_loses_nothing(self, root: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        class Killed(BaseException):
            pass

        original = files.replacing

        def replacing(path: Path) -> Any:
            if path.name.startswith(step):
                raise Killed
            return original(path)

        for module in (packed_writer, files):
            monkeypatch.setattr(module, "replacing", replacing)
        if step == "cleanup":
            monkeypatch.setattr(Path, "glob", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed), PackedWriter(root) as writer:  # noqa: PT012 - where it dies is the point
            writer.write("003", "nm-01", "000", NEW_WALKS["003", "nm-01", "000"])
            if step == "frames":
                raise Killed
        monkeypatch.undo()
        committed = step in ("frames", "cleanup")
        new = {("003", "nm-01", "000"): NEW_WALKS["003", "nm-01", "000"]} if committed else {}
        check(PackedStore(root), {**WALKS, **new})
        check(write_store(root, NEW_WALKS), {**WALKS, **NEW_WALKS})

    def test_a_full_disk_keeps_what_was_written(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full:
            """A file that accepts 50 bytes, and then no more."""

            def __init__(self, file: Any) -> None:
                self.file, self.remaining = file, 50

            def write(self, data: memoryview) -> int:
                if not self.remaining:
                    raise OSError(28, "No space left on device")
                count = int(self.file.write(data[: self.remaining]))
                self.remaining -= count
                return count

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        writer = PackedWriter(root)
        writer.write("003", "nm-01", "000", NEW_WALKS["003", "nm-01", "000"])
        with monkeypatch.context() as patch:
            patch.setattr(writer, "_frames", Full(writer._frames))
            with pytest.raises(OSError, match="No space"):
                writer.write("004", "nm-01", "000", np.zeros((3, 6, 4), np.uint8))
        assert not writer.contains("004", "nm-01", "000")
        writer.write("000", "nm-01", "000", NEW_WALKS["000", "nm-01", "000"])
        writer.close()
        check(PackedStore(root), {**WALKS, **NEW_WALKS})

    def test_one_writer_at_a_time(self, root: Path) -> None:
        with PackedWriter(root), pytest.raises(UserError, match="is being written by another process"):
            PackedWriter(root)
        PackedWriter(root).close()

    def test_a_folder_that_is_no_store(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(UserError, match="not a store"):
            PackedWriter(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
        PackedWriter(tmp_path, others=True).close()


class TestDamage:
    def test_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"store.json cannot be read.*`dygait pack`"):
            PackedStore(tmp_path)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("format", "other", "does not describe a store"),
            ("version", 4, "version 4.*1 and 2 and 3"),
            ("shards", [1], "points beyond the end of a file"),
            ("shards", [10**9], "frames-00000.bin is truncated"),
            ("shards", [], "without frames or without a file"),
            ("shards", ["1"], "no usable shards"),
            ("files", 3, "does not have 3 rows"),
            ("files", -1, "no usable files"),
            ("checksums", {}, "checksum"),
            ("generation", 7, "index-7.npy cannot be read"),
            ("fingerprint", None, "no usable fingerprint"),
        ],
    )
    def test_a_manifest_that_does_not_fit(self, root: Path, key: str, value: Any, message: str) -> None:
        manifest = json.loads((root / "store.json").read_text())
        (root / "store.json").write_text(json.dumps({**manifest, key: value}))
        with pytest.raises(UserError, match=message):
            PackedStore(root)

    @pytest.mark.parametrize("name", ["frames-00000.bin", "index-1.npy", "names-1.json"])
    def test_a_truncated_or_missing_file(self, root: Path, name: str) -> None:
        (root / name).write_bytes((root / name).read_bytes()[:-1])
        with pytest.raises(UserError, match=f"damaged: {name}"):
            PackedStore(root)
        (root / name).unlink()
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            PackedStore(root)

    @pytest.mark.parametrize(
        ("field", "names", "message"),
        [
            ("view", None, "does not list names"),
            ("id", ["002", "001"], "not sorted"),
            ("type", ["nm-01"], "refers to a name"),
            ("view", ["..", "090"], "cannot be the name"),
            ("view", ["000", 90], "cannot be the name"),
        ],
    )
    def test_names_that_do_not_fit(self, root: Path, field: str, names: Any, message: str) -> None:
        content = json.dumps({**json.loads((root / "names-1.json").read_text()), field: names}).encode()
        (root / "names-1.json").write_bytes(content)
        manifest = json.loads((root / "store.json").read_text())
        manifest["checksums"]["names-1.json"] = zlib.crc32(content)
        (root / "store.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match=message):
            PackedStore(root)
