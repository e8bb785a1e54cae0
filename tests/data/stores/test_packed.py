"""The packed store: round trip, damage, interruption."""

from __future__ import annotations

import json
import pickle
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait import files
from dygait.data import PackedStore, PackedWriter, open_store
from dygait.data.stores import packed_format, packed_writer
from dygait.errors import UserError

RNG = np.random.default_rng(0)
WALKS = {
    (person, kind, view): RNG.integers(0, 256, (int(RNG.integers(1, 9)), 6, 4), dtype=np.uint8)
    for person in ("001", "002")
    for kind in ("bg-01", "nm-01")
    for view in ("000", "090")
}


def written(root: Path, walks: dict[tuple[str, str, str], np.ndarray] = WALKS) -> PackedStore:
    with PackedWriter(root, "a test") as writer:
        for key, frames in walks.items():
            writer.write(*key, frames)
    return PackedStore(root)


def content(store: PackedStore) -> dict[tuple[str, str, str], bytes]:
    """The frames of a store whose checksums are right."""
    for index, frames in enumerate(store.lengths(np.arange(len(store.table)))):
        assert store.verify(index) == frames
    return {key: store.read(index).tobytes() for index, key in enumerate(store.table.all_keys())}


BYTES = {key: frames.tobytes() for key, frames in WALKS.items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    written(tmp_path / "store")
    return tmp_path / "store"


class TestReading:
    @pytest.mark.parametrize(("shard_bytes", "files"), [(1, 8), (400, 3), (2**31, 1)])
    def test_what_was_written_in_any_order_is_read_in_order(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int, files: int
    ) -> None:
        monkeypatch.setattr(packed_writer, "SHARD_BYTES", shard_bytes)
        store = written(tmp_path / "s", dict(reversed(WALKS.items())))
        assert store.table.all_keys() == sorted(WALKS)
        assert content(store) == BYTES
        assert store.lengths(np.arange(len(WALKS))).tolist() == [len(WALKS[key]) for key in sorted(WALKS)]
        assert len(list((tmp_path / "s").glob("frames-*.bin"))) == files
        assert isinstance(open_store(tmp_path / "s"), PackedStore)

    def test_frames_are_mapped_and_cannot_be_changed(self, root: Path) -> None:
        frames = PackedStore(root).read(0)
        assert not frames.flags.writeable
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

    def test_it_travels_to_a_worker_and_elsewhere(self, root: Path, tmp_path: Path) -> None:
        store = PackedStore(root)
        store.read(0)
        assert content(pickle.loads(pickle.dumps(store))) == BYTES
        shutil.copytree(root, tmp_path / "copy")
        copy = PackedStore(tmp_path / "copy")
        assert content(copy) == BYTES
        assert copy.fingerprint == store.fingerprint

    def test_the_fingerprint_is_of_the_content(self, tmp_path: Path) -> None:
        one = written(tmp_path / "one").fingerprint
        assert written(tmp_path / "two", dict(reversed(WALKS.items()))).fingerprint == one
        changed = {**WALKS, ("001", "bg-01", "000"): WALKS["001", "bg-01", "000"] ^ 1}
        assert written(tmp_path / "three", changed).fingerprint != one
        renamed = {(i.replace("002", "003"), t, v): f for (i, t, v), f in WALKS.items()}
        assert written(tmp_path / "four", renamed).fingerprint != one

    def test_an_empty_store(self, tmp_path: Path) -> None:
        store = written(tmp_path / "s", {})
        assert len(store.table) == 0
        assert store.table.indices({"001"}).tolist() == []


def as_version_1(root: Path) -> None:
    """Turn a store into one as it was first written: rows and manifest point to a further file."""
    rows, manifest = np.load(root / "index-1.npy"), json.loads((root / "store.json").read_text())
    older = np.zeros(len(rows), packed_format.ROWS[1])
    for field in rows.dtype.names:
        older[field] = rows[field]
    older["envelope_size"] = 7
    np.save(root / "index-1.npy", older)
    (root / "envelopes.bin").write_bytes(bytes(7))
    manifest |= {"version": 1, "envelopes": 7}
    manifest["checksums"]["index-1.npy"] = zlib.crc32((root / "index-1.npy").read_bytes())
    (root / "store.json").write_text(json.dumps(manifest))


def test_version_1_is_read_and_appended_to(root: Path) -> None:
    fingerprint = PackedStore(root).fingerprint
    as_version_1(root)
    store = PackedStore(root)
    assert content(store) == BYTES
    assert store.fingerprint == fingerprint
    with PackedWriter(root) as writer:
        writer.write("003", "nm-01", "000", WALKS["001", "nm-01", "000"])
    assert content(PackedStore(root)) == {**BYTES, ("003", "nm-01", "000"): BYTES["001", "nm-01", "000"]}
    assert PackedStore(root).manifest.version == packed_format.VERSION


class TestWriting:
    @pytest.mark.parametrize(
        ("key", "frames", "message"),
        [
            (("a", "b", "c"), np.zeros((0, 2, 2), np.uint8), "S >= 1 is needed"),
            (("a", "b", "c"), np.zeros((2, 2), np.uint8), r"uint8 \(2, 2\)"),
            (("a", "b", "c"), np.zeros((1, 2, 2)), "float64"),
            (("..", "b", "c"), np.zeros((1, 2, 2), np.uint8), "cannot be the name"),
            (("a", "b/c", "c"), np.zeros((1, 2, 2), np.uint8), "cannot be the name"),
            (("a", "b", "c\\d"), np.zeros((1, 2, 2), np.uint8), "cannot be the name"),
            (("", "b", "c"), np.zeros((1, 2, 2), np.uint8), "cannot be the name"),
        ],
    )
    def test_what_is_no_sequence(
        self, tmp_path: Path, key: tuple[str, str, str], frames: np.ndarray, message: str
    ) -> None:
        with PackedWriter(tmp_path) as writer:
            with pytest.raises(UserError, match=message):
                writer.write(*key, frames)
            writer.write("a", "b", "c", np.ones((1, 2, 2), np.uint8))
        assert PackedStore(tmp_path).table.all_keys() == [("a", "b", "c")]

    def test_strided_frames_are_written_as_they_look(self, tmp_path: Path) -> None:
        frames = RNG.integers(0, 256, (4, 6, 8), dtype=np.uint8)[::2, :, ::-2]
        store = written(tmp_path, {("a", "b", "c"): frames})
        assert content(store) == {("a", "b", "c"): frames.tobytes()}

    def test_appending_keeps_what_was_there(self, root: Path) -> None:
        more = {
            ("003", "nm-01", "000"): np.full((3, 6, 4), 9, np.uint8),
            ("000", "nm-01", "000"): WALKS["001", "nm-01", "000"],
        }
        with PackedWriter(root) as writer:
            assert writer.contains("001", "nm-01", "000")
            assert not writer.contains("003", "nm-01", "000")
            for key, frames in more.items():
                writer.write(*key, frames)
        store = PackedStore(root)
        assert content(store) == {**BYTES, **{key: frames.tobytes() for key, frames in more.items()}}
        assert store.manifest.source == "a test"
        assert {p.name for p in root.iterdir()} == {
            ".lock", "store.json", "frames-00000.bin", "index-2.npy", "names-2.json",
        }  # fmt: skip

    def test_without_anything_new_nothing_is_written(self, root: Path) -> None:
        before = {p.name: p.stat().st_mtime_ns for p in root.iterdir() if p.name != ".lock"}
        PackedWriter(root).close()
        assert {p.name: p.stat().st_mtime_ns for p in root.iterdir() if p.name != ".lock"} == before

    @pytest.mark.parametrize("step", ["frames", "index", "names", "manifest", "clean-up"])
    def test_an_interrupted_writer_loses_nothing(self, root: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        class Killed(BaseException):
            pass

        real = files.replacing

        def replacing(path: Path) -> Any:
            if path.name.startswith({"index": "index", "names": "names", "manifest": "store"}.get(step, "nothing")):
                raise Killed
            return real(path)

        for module in (packed_writer, files):
            monkeypatch.setattr(module, "replacing", replacing)
        if step == "clean-up":
            monkeypatch.setattr(Path, "glob", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed), PackedWriter(root) as writer:  # noqa: PT012 - where it dies is the point
            writer.write("003", "nm-01", "000", np.full((3, 6, 4), 9, np.uint8))
            if step == "frames":
                raise Killed
        monkeypatch.undo()
        after = content(PackedStore(root))
        new = {("003", "nm-01", "000"): np.full((3, 6, 4), 9, np.uint8).tobytes()}
        assert after == ({**BYTES, **new} if step == "clean-up" else BYTES)
        with PackedWriter(root) as writer:
            if not writer.contains("003", "nm-01", "000"):
                writer.write("003", "nm-01", "000", np.full((3, 6, 4), 9, np.uint8))
            writer.write("004", "nm-01", "000", np.full((2, 6, 4), 8, np.uint8))
        assert content(PackedStore(root)) == {
            **BYTES,
            **new,
            ("004", "nm-01", "000"): np.full((2, 6, 4), 8, np.uint8).tobytes(),
        }

    def test_a_full_disk_keeps_what_was_committed(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        writer = PackedWriter(root)

        class Full:
            """A file that takes some bytes and then no more."""

            def __init__(self, file: Any) -> None:
                self.file, self.room = file, 50

            def write(self, data: memoryview) -> int:
                if not self.room:
                    raise OSError(28, "No space left on device")
                taken = self.file.write(data[: self.room])
                self.room -= taken
                return int(taken)

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

        more = np.full((3, 6, 4), 9, np.uint8)
        writer.write("003", "nm-01", "000", more)
        whole = writer._frames
        monkeypatch.setattr(writer, "_frames", Full(whole))
        with pytest.raises(OSError, match="No space"):
            writer.write("004", "nm-01", "000", more)
        assert not writer.contains("004", "nm-01", "000")
        monkeypatch.setattr(writer, "_frames", whole)
        writer.write("005", "nm-01", "000", more + 1)
        writer.close()
        expected = {**BYTES, ("003", "nm-01", "000"): more.tobytes(), ("005", "nm-01", "000"): (more + 1).tobytes()}
        assert content(PackedStore(root)) == expected

    def test_replacing(self, root: Path) -> None:
        with PackedWriter(root) as writer:
            writer.write("001", "nm-01", "000", np.full((3, 6, 4), 9, np.uint8))
        assert content(PackedStore(root)) == {
            **BYTES,
            ("001", "nm-01", "000"): np.full((3, 6, 4), 9, np.uint8).tobytes(),
        }

    def test_one_writer_at_a_time(self, root: Path) -> None:
        with PackedWriter(root), pytest.raises(UserError, match="is being written by another process"):
            PackedWriter(root)
        PackedWriter(root).close()

    def test_a_folder_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(UserError, match="not a store"):
            PackedWriter(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


class TestDamage:
    def test_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"store.json cannot be read.*is .* a store of `dygait pack`\?"):
            PackedStore(tmp_path)

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("format", "other", "does not describe a store"),
            ("version", 3, "version 3.*1 and 2"),
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
    def test_a_file_that_is_cut_off_or_gone(self, root: Path, name: str) -> None:
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[:-1])
        with pytest.raises(UserError, match=f"damaged: {name}"):
            PackedStore(root)
        (root / name).unlink()
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            PackedStore(root)

    def test_rotten_frames_are_named(self, root: Path) -> None:
        store = PackedStore(root)
        data = bytearray((root / "frames-00000.bin").read_bytes())
        data[int(store.rows[3]["offset"])] ^= 16
        (root / "frames-00000.bin").write_bytes(bytes(data))
        store = PackedStore(root)
        with pytest.raises(UserError, match="/".join(store.table.key(3)) + ".*checksum"):
            store.verify(3)
        for index in (0, 1, 2, 4, 5, 6, 7):
            store.verify(index)
