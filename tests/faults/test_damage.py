"""Checkpoints damaged by a crash, a full disk or a bad sector are detected, reported and skipped."""

import shutil
from pathlib import Path

import pytest

from dygait.errors import UserError
from dygait.runs.checkpoint_files import newest_checkpoint, read_checkpoint
from helpers.experiments import Experiment
from helpers.faulting import LONG, SETTINGS, assert_same_end, damages, events


def test_every_kind_of_damage_is_detected(uninterrupted: Experiment, tmp_path: Path) -> None:
    """By the search for the newest checkpoint, and by reading it."""
    intact = uninterrupted.checkpoints / "tiny-00002.pt"
    shutil.copy(intact, tmp_path)
    damaged = tmp_path / "tiny-00004.pt"
    for name, content in damages((uninterrupted.checkpoints / "tiny-00004.pt").read_bytes()):
        damaged.write_bytes(content)
        reports: list[tuple[Path, str]] = []
        newest = newest_checkpoint(tmp_path, "tiny", lambda *report, reports=reports: reports.append(report))
        assert newest == tmp_path / intact.name, name
        ((path, damage),) = reports
        assert path == damaged
        assert damage
        with pytest.raises(UserError, match=r"tiny-00004\.pt"):
            read_checkpoint(damaged)


def test_a_run_resumes_from_an_older_checkpoint(
    uninterrupted: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two newest are damaged in the same way; damaged ones do not count for `keep_last`."""
    contents = dict(damages((uninterrupted.checkpoints / "tiny-00012.pt").read_bytes()))
    for number, (name, content) in enumerate(list(contents.items())[:: 1 if LONG else 4]):
        damaged = uninterrupted.at(tmp_path / str(number))
        shutil.copytree(uninterrupted.folder, damaged.folder)
        for iteration in (10, 12):
            (damaged.checkpoints / f"tiny-{iteration:05d}.pt").write_bytes(content)
        assert damaged.run("train", *SETTINGS, "trainer_cfg.keep_last=1", options=("--resume",)) == 0, name
        assert [event["file"] for event in events(damaged, "damaged checkpoint")] == ["tiny-00012.pt", "tiny-00010.pt"]
        assert capsys.readouterr().out.count("damaged checkpoint") == 2
        assert events(damaged, "started")[-1]["iteration"] == 8
        assert [p.name for p in damaged.checkpoints.glob("*.pt")] == ["tiny-00012.pt"]
        assert_same_end(damaged, uninterrupted)
