import argparse
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dygait import cli
from dygait.commands import prepare as command
from dygait.commands.messages import INCOMPLETE
from dygait.data.stores import PackedStore, open_store
from dygait.data.stores.locks import lock
from dygait.data.stores.pickles import PickleTreeWriter
from dygait.errors import UserError
from dygait.frames.normalisation import normalise_silhouette
from dygait.preprocess import jobs
from dygait.preprocess.journal import Journal
from dygait.preprocess.prepare import FORMATS, LOCK, prepare
from helpers import raw
from helpers.experiments import REPOSITORY

SECRET = "open sesame"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def sequences(root: Path) -> dict[str, np.ndarray]:
    return {
        str(path.parent.relative_to(root)): pickle.loads(path.read_bytes())
        for path in root.rglob("*.pkl")
        if path.stem == path.parent.name
    }


def expected(dataset: str) -> dict[str, np.ndarray]:
    sequences = {}
    for name, folder in raw.SEQUENCES[dataset].items():
        images = raw.pictures(dataset, folder)
        frames = images if dataset == "GREW" else [normalise_silhouette(image) for image in images]
        sequences[name] = np.stack([frame for frame in frames if frame is not None])
    return sequences


def assert_prepared(root: Path, dataset: str) -> None:
    actual, expected_frames = sequences(root), expected(dataset)
    assert set(actual) == set(expected_frames)
    for name, frames in expected_frames.items():
        np.testing.assert_array_equal(actual[name], frames, err_msg=name)


@pytest.mark.parametrize("dataset", raw.SEQUENCES)
def test_extracted_folders(dataset: str, tmp_path: Path) -> None:
    report = prepare(dataset, [raw.write(tmp_path / "raw", raw.files_of(dataset))], tmp_path / "out")
    assert_prepared(tmp_path / "out", dataset)
    assert not report["lost"]
    assert report["sequences"] == len(open_store(tmp_path / "out").table) == len(raw.SEQUENCES[dataset])


@pytest.mark.parametrize(
    ("dataset", "in_memory"), [*((dataset, 2**26) for dataset in raw.SEQUENCES), ("GREW", 1500), ("Gait3D", 100)]
)
def test_archives_as_downloaded(dataset: str, in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_IN_MEMORY_BYTES", in_memory)
    inputs = raw.packed(tmp_path / "raw", dataset)
    report = prepare(dataset, inputs, tmp_path / "out", password=SECRET)
    assert_prepared(tmp_path / "out", dataset)
    assert not report["lost"]
    before = contents(tmp_path / "out")
    assert prepare(dataset, inputs, tmp_path / "out", password=SECRET) == report
    assert contents(tmp_path / "out") == before


def test_a_tar_with_interleaved_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = raw.casia_b()
    mixed = dict(sorted(files.items(), key=lambda pair: pair[0][::-1]))
    raw.write(tmp_path, {"all.tar": raw.tar(mixed, "w")})
    monkeypatch.setattr(jobs, "MAX_IN_MEMORY_BYTES", 100)
    prepare("CASIA-B", [tmp_path / "all.tar"], tmp_path / "out")
    assert_prepared(tmp_path / "out", "CASIA-B")


def test_a_folder_of_inner_archives_with_one_and_two_workers(tmp_path: Path) -> None:
    files = raw.casia_b()
    inner = {f"{i}.tar.gz": raw.tar({k: v for k, v in files.items() if k[:3] == i}) for i in ("001", "002")}
    raw.write(tmp_path / "silh", inner)
    prepare("CASIA-B", [tmp_path / "silh"], tmp_path / "two", workers=2)
    prepare("CASIA-B", [tmp_path / "silh"], tmp_path / "one", workers=1)
    assert_prepared(tmp_path / "two", "CASIA-B")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


class StoppingWriter(PickleTreeWriter):
    remaining = 3
    error: BaseException = KeyboardInterrupt()

    def write(self, id: str, type: str, view: str, frames: np.ndarray) -> None:
        if StoppingWriter.remaining == 0:
            raise StoppingWriter.error
        StoppingWriter.remaining -= 1
        super().write(id, type, view, frames)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_run_that_stops_is_continued(
    packed: bool, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = raw.casia_b()
    damaged = next(iter(files))
    files[damaged] = files[damaged][:-40]
    inputs = [raw.write(tmp_path / "raw", files)]
    if packed:
        inputs = [tmp_path / "a.tgz"]
        inputs[0].write_bytes(raw.tar(files))
    prepare("CASIA-B", inputs, tmp_path / "uninterrupted")
    message = "No space left.*free space" if isinstance(error, OSError) else None
    with monkeypatch.context() as patch:
        patch.setattr(StoppingWriter, "remaining", 3)
        patch.setattr(StoppingWriter, "error", error)
        patch.setitem(FORMATS, "pickle", StoppingWriter)
        with pytest.raises((KeyboardInterrupt, UserError), match=message):
            prepare("CASIA-B", inputs, tmp_path / "out")
    assert len(sequences(tmp_path / "out")) == 3
    journal = tmp_path / "out" / "prepare_journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"sequence":["001","nm')  # an incomplete line
    report = prepare("CASIA-B", inputs, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "uninterrupted")
    assert report["skipped"]["damaged"]["pictures"] == 1
    assert report["skipped"]["damaged"]["names"][0].endswith(damaged)
    assert report["lost"]


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "prepare_journal.jsonl").write_text('{"archive":"a","size":1,"unmatched":[]}\n{"archive":\n{}\n')
    with pytest.raises(UserError, match=r"journal\.jsonl, line 2 "):
        Journal(tmp_path)


def test_a_killed_process_is_continued(tmp_path: Path) -> None:
    inputs = raw.write(tmp_path / "raw", raw.casia_b(tuple(f"{i:03d}" for i in range(1, 13))))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dygait", "prepare", "CASIA-B", "--input", str(inputs), "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "lib")}
    process = subprocess.Popen([*command, "--output", str(out)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.pkl"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    prepare("CASIA-B", [inputs], out)
    prepare("CASIA-B", [inputs], tmp_path / "uninterrupted")
    assert contents(out) == contents(tmp_path / "uninterrupted")


def test_unusable_pictures_are_reported(tmp_path: Path) -> None:
    files = raw.casia_b()
    names = list(files)
    files[names[0]] = b""
    files[names[1]] = b"no picture"
    files[names[2]] = raw.png(np.zeros((240, 320), np.uint8))
    files["001/nm-01/090/stray.png"] = raw.png(raw.picture(1))
    files["002/readme.png"] = raw.png(raw.picture(1))
    report = prepare("CASIA-B", [raw.write(tmp_path / "raw", files)], tmp_path / "out")
    assert report["lost"]
    assert json.loads((tmp_path / "out/prepare_report.json").read_text()) == report
    assert report["skipped"]["empty file"]["names"] == [f"raw/{names[0]}"]
    assert report["skipped"]["not a PNG, JPEG, BMP or TIFF"]["names"] == [f"raw/{names[1]}"]
    assert report["skipped"]["nobody in it"]["names"] == [f"raw/{names[2]}"]
    assert report["sequences_without_frames"] == ["001/nm-01/000"]
    assert report["pictures_of_another_layout"]["names"] == ["raw/002/readme.png"]
    assert report["missing_train_ids"][0] == "003"
    assert not (tmp_path / "out/001/nm-01/000").exists()
    printed = (tmp_path / "out/prepare_report.txt").read_text()
    assert "72 of 74 train ids are not on disk" in printed
    assert names[0] in printed
    # With the pictures repaired, the sequence is prepared.
    raw.write(tmp_path / "raw", {name: raw.casia_b()[name] for name in names[:2]})
    report = prepare("CASIA-B", [tmp_path / "raw"], tmp_path / "out")
    assert report["sequences_without_frames"] == []
    assert "empty file" not in report["skipped"]


def test_a_picture_without_a_person_is_not_reported_as_lost(tmp_path: Path) -> None:
    files = raw.casia_b()
    files[next(iter(files))] = raw.png(np.zeros((240, 320), np.uint8))
    report = prepare("CASIA-B", [raw.write(tmp_path / "raw", files)], tmp_path / "out")
    assert not report["lost"]
    assert report["skipped"]["nobody in it"]["pictures"] == 1


def test_a_truncated_archive_is_named_and_the_others_are_prepared(tmp_path: Path) -> None:
    files = raw.casia_b()
    complete = raw.tar({k: v for k, v in files.items() if k[:3] == "001"})
    inner = {"001.tar.gz": complete[:-200], "002.tar.gz": raw.tar({k: v for k, v in files.items() if k[:3] == "002"})}
    raw.write(tmp_path / "raw", inner)
    report = prepare("CASIA-B", [tmp_path / "raw"], tmp_path / "out")
    assert report["lost"]
    assert "download it again" in report["unreadable_archives"]["raw/001.tar.gz"]
    assert report["sequences"] == 4
    (tmp_path / "raw/001.tar.gz").write_bytes(complete)
    report = prepare("CASIA-B", [tmp_path / "raw"], tmp_path / "out")
    assert not report["lost"]
    assert_prepared(tmp_path / "out", "CASIA-B")


def test_two_copies_of_a_sequence_are_not_mixed(tmp_path: Path) -> None:
    sequence = {k: v for k, v in raw.casia_b(("001",)).items() if "nm-01/000" in k}
    for copy in ("a", "b"):
        raw.write(tmp_path / "raw" / copy, sequence)
    (tmp_path / "all.tgz").write_bytes(raw.tar({f"{copy}/{k}": v for copy in ("a", "b") for k, v in sequence.items()}))
    report = prepare("CASIA-B", [tmp_path / "raw"], tmp_path / "folders")
    assert report["found_twice"] == {"001/nm-01/000": ["raw/a/001/nm-01/000", "raw/b/001/nm-01/000"]}
    assert prepare("CASIA-B", [tmp_path / "raw"], tmp_path / "folders") == report
    report = prepare("CASIA-B", [tmp_path / "all.tgz"], tmp_path / "tar")
    assert report["pictures_of_another_layout"]["pictures"] == 2
    for out in ("folders", "tar"):
        np.testing.assert_array_equal(sequences(tmp_path / out)["001/nm-01/000"], expected("CASIA-B")["001/nm-01/000"])


def test_a_grew_subject_spread_over_two_folders_is_reported(tmp_path: Path) -> None:
    """The sequences of a test id are numbered together: in separate folders, each would be the first."""
    files = raw.files_of("GREW")
    for part, name in (("a", "t16VLaQf"), ("b", "79XJefi8")):
        raw.write(
            tmp_path / "raw" / part, {k: v for k, v in files.items() if name in k and k[-5:] in ("0.png", "1.png")}
        )
    report = prepare("GREW", [tmp_path / "raw"], tmp_path / "out")
    assert report["lost"]
    assert list(report["found_twice"]) == ["00001/01"]
    assert report["sequences"] == 1


def test_a_run_without_result_does_not_fix_the_settings(tmp_path: Path) -> None:
    raw.write(tmp_path / "raw", raw.files_of("CASIA-A"))
    with pytest.raises(UserError, match="no picture of GREW"):
        prepare("GREW", [tmp_path / "raw"], tmp_path / "out")
    assert not prepare("CASIA-A", [tmp_path / "raw"], tmp_path / "out")["lost"]


def run_command(*arguments: Any) -> int:
    return cli.main(["prepare", *map(str, arguments), "--workers", "1"])


def test_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DYGAIT_PASSWORD", raising=False)
    archives = raw.packed(tmp_path / "raw", "OUMVLP")
    arguments = ["OUMVLP", "--input", *archives, "--output", tmp_path / "out"]
    for guess, message in (([], "encrypted: set DYGAIT_PASSWORD"), (["--password", "wrong guess"], "does not open it")):
        assert run_command(*arguments, *guess) == 2
        printed = "".join(capfd.readouterr())
        assert message in printed
        assert "Silhouette_000-00.zip" in printed
        assert "wrong guess" not in printed
    monkeypatch.setenv("DYGAIT_PASSWORD", SECRET)
    assert run_command(*arguments) == 0
    assert_prepared(tmp_path / "out", "OUMVLP")


def test_exit_codes_and_mistakes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = raw.files_of("CASIA-A")
    files[next(iter(files))] = b""
    raw.write(tmp_path / "raw", files)
    out = tmp_path / "out"
    assert run_command("CASIA-A", "--input", tmp_path / "raw", "--output", out) == INCOMPLETE == 3
    assert "prepare_report.txt" in "".join(capfd.readouterr())
    for arguments, message in (
        (("CASIA-A", "--input", tmp_path / "nowhere", "--output", out), "no such file"),
        (("CASIA-A", "--input", tmp_path / "raw", "--output", out, "--height", 32), "other settings (height)"),
        (("CASIA-A", "--input", tmp_path / "raw", "--output", out, "--height", 33), "even number"),
        (("GREW", "--input", tmp_path / "raw", "--output", tmp_path / "new"), "train/00001/"),
        (("CASIA-A", "--input", tmp_path / "raw", "--output", tmp_path / "raw"), "the input itself"),
        (("CASIA-A", "--input", tmp_path / "raw", "--output", tmp_path), "not made by"),
        (("CASIA-A", "--input", tmp_path / "raw", tmp_path / "x/raw", "--output", out), "the same name"),
    ):
        assert run_command(*arguments) == 2, arguments
        printed = capfd.readouterr().err
        assert message in printed
        assert "Traceback" not in printed


def test_prepare_writes_a_packed_store(tmp_path: Path) -> None:
    inputs, out = raw.packed(tmp_path / "raw", "CASIA-B"), tmp_path / "out"
    report = prepare("CASIA-B", inputs, out, format="store")
    store, frames = PackedStore(out), expected("CASIA-B")
    assert set(map("/".join, store.table.all_keys())) == set(frames)
    for index, key in enumerate(store.table.all_keys()):
        np.testing.assert_array_equal(store.read(index), frames["/".join(key)])
        store.verify(index)
    assert prepare("CASIA-B", inputs, out, format="store") == report
    assert PackedStore(out).fingerprint == store.fingerprint


def test_a_store_without_its_last_commit_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = raw.packed(tmp_path / "raw", "CASIA-B")
    prepare("CASIA-B", inputs, tmp_path / "committed", format="store")
    monkeypatch.setattr("dygait.data.stores.packed_writer.PackedWriter.commit", lambda self: None)
    prepare("CASIA-B", inputs, tmp_path / "out", format="store")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "store.json").exists()
    prepare("CASIA-B", inputs, tmp_path / "out", format="store")
    assert PackedStore(tmp_path / "out").fingerprint == PackedStore(tmp_path / "committed").fingerprint


@pytest.mark.parametrize("format", FORMATS)
def test_a_second_run_on_a_locked_folder_is_refused(tmp_path: Path, format: str) -> None:
    source, out = raw.write(tmp_path / "raw", raw.files_of("CASIA-A")), tmp_path / "out"
    out.mkdir()
    with lock(out, LOCK), pytest.raises(UserError, match=rf"^{out} is being written by another process"):
        prepare("CASIA-A", [source], out, format=format)
    assert [path.name for path in out.iterdir()] == [LOCK], "the second run writes nothing"
    prepare("CASIA-A", [source], out, format=format)
    assert set(map("/".join, open_store(out).table.all_keys())) == set(expected("CASIA-A"))


def test_the_command_offers_all_formats() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    (choices,) = [action.choices for action in parser._actions if action.dest == "format"]
    assert tuple(choices or ()) == tuple(FORMATS)


def test_grew_frames_of_another_size_are_normalised(tmp_path: Path) -> None:
    report = prepare("GREW", [raw.write(tmp_path / "raw", raw.files_of("GREW"))], tmp_path / "out", height=32)
    assert not report["lost"]
    assert {frames.shape[1:] for frames in sequences(tmp_path / "out").values()} == {(32, 32)}


@pytest.mark.parametrize(
    ("dataset", "folder", "silhouettes", "other"),
    [
        ("SUSTech1K", "{}/00-nm/090-far", "06-090-far-Camera-Sils_aligned", "05-090-far-Camera-RGB_raw"),
        ("CCGR-Mini", "{}/NM1/67_5_2.avi", "67_5_2.avisil-1", "67_5_2.avipose-1"),
        ("FreeGait", "{}/devid_3/seq_00_new", "image/image", "lidar/lidar"),
    ],
)
def test_datasets_distributed_as_pickles(
    dataset: str, folder: str, silhouettes: str, other: str, tmp_path: Path
) -> None:
    """Frames of the required height are kept as they are, empty ones too; frames of other heights are normalised."""
    same_height = np.stack([np.zeros((64, 64), np.uint8), *(raw.picture(n, (64, 64)) for n in range(3))])
    large = [raw.picture(n, (128, 128)) for n in range(2)]
    contents = {"0001": same_height, "0002": large, "0003": np.zeros((2, 3))}
    files = {f"{folder.format(i)}/{silhouettes}.pkl": pickle.dumps(frames) for i, frames in contents.items()}
    files |= {f"{folder.format(i)}/{other}.pkl": b"of no interest" for i in contents}
    raw.write(tmp_path / "raw", {"dataset.zip": raw.zipped({"all.tar.gz": raw.tar(files)}, SECRET)})
    report = prepare(dataset, [tmp_path / "raw" / "dataset.zip"], tmp_path / "out", password=SECRET)
    paths = {str(path.parent.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*.pkl")}
    assert set(paths) == {folder.format("0001"), folder.format("0002")}
    prepared = {name: pickle.loads(path.read_bytes()) for name, path in paths.items()}
    np.testing.assert_array_equal(prepared[folder.format("0001")], same_height)
    np.testing.assert_array_equal(prepared[folder.format("0002")], np.stack([*map(normalise_silhouette, large)]))
    assert any("a uint8 array (S, H, W)" in reason for reason in report["skipped"])


def test_masks_of_a_dataset_are_cleaned_on_request(tmp_path: Path) -> None:
    files = {name: raw.png(255 - raw.picture(number)) for number, name in enumerate(raw.casia_b())}
    report = prepare("CASIA-B", [raw.write(tmp_path / "raw", files)], tmp_path / "out", clean=True)
    assert report["cleaned"] == {"dark on light, inverted": {"pictures": 16, "sequences": 8}}
    assert prepare("CASIA-B", [tmp_path / "raw"], tmp_path / "plain")["cleaned"] == {}


def test_a_journal_of_an_earlier_version(tmp_path: Path) -> None:
    line = '{"sequence":["001","nm-01","000"],"frames":2,"skipped":[],"source":"raw"}'
    (tmp_path / "prepare_journal.jsonl").write_text(f"{line}\n")
    (outcome,) = Journal(tmp_path).outcomes.values()
    assert (outcome.frames, outcome.remarks.jumps) == (2, ())
