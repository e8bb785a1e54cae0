"""Checkpoints that a crash, a full disk or a bad sector has spoilt: each is found out, named and skipped."""

import shutil
from pathlib import Path

import pytest

from dygait.errors import UserError
from dygait.runs.checkpoint_files import newest_checkpoint, read_checkpoint
from helpers.experiments import Experiment
from helpers.faulting import LONG, SETTINGS, assert_same_end, damages, events


def test_every_class_is_found_out(uninterrupted: Experiment, tmp_path: Path) -> None:
    """By the search for the newest, and by whoever names the file: a test, `--iter`, `init_from`."""
    whole = uninterrupted.checkpoints / "tiny-00002.pt"
    shutil.copy(whole, tmp_path)
    spoilt = tmp_path / "tiny-00004.pt"
    for name, content in damages((uninterrupted.checkpoints / "tiny-00004.pt").read_bytes()):
        spoilt.write_bytes(content)
        damaged: list[tuple[Path, str]] = []
        newest = newest_checkpoint(tmp_path, "tiny", lambda *found, to=damaged: to.append(found))
        assert newest == tmp_path / whole.name, name
        ((path, damage),) = damaged
        assert path == spoilt
        assert damage
        with pytest.raises(UserError, match=r"tiny-00004\.pt"):
            read_checkpoint(spoilt)


def test_a_run_goes_on_from_the_older_one(
    uninterrupted: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of each class in turn, the two newest damaged; and where only one is kept, the damaged ones are not it."""
    classes = dict(damages((uninterrupted.checkpoints / "tiny-00012.pt").read_bytes()))
    for number, (name, content) in enumerate(list(classes.items())[:: 1 if LONG else 4]):
        damaged = uninterrupted.at(tmp_path / str(number))
        shutil.copytree(uninterrupted.folder, damaged.folder)
        for newer in (10, 12):
            (damaged.checkpoints / f"tiny-{newer:05d}.pt").write_bytes(content)
        assert damaged.run("train", *SETTINGS, "trainer_cfg.keep_last=1", options=("--resume",)) == 0, name
        assert [event["file"] for event in events(damaged, "damaged checkpoint")] == ["tiny-00012.pt", "tiny-00010.pt"]
        assert capsys.readouterr().out.count("damaged checkpoint") == 2
        assert events(damaged, "started")[-1]["iteration"] == 8
        assert [p.name for p in damaged.checkpoints.glob("*.pt")] == ["tiny-00012.pt"]
        assert_same_end(damaged, uninterrupted)
