"""The status of a run, read from its files."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from dygait import cli
from dygait.errors import UserError
from dygait.runs.checkpoint_files import checkpoint_path, save_checkpoint
from dygait.runs.events import EVENTS, add_event, read_lines, write_state
from dygait.runs.folder import RunFolder
from dygait.runs.status import status


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run", "run")
    folder.create()
    add_event(folder, "started", phase="training", notes=["2 ids are not on disk"])
    (folder.logs / "scalars.jsonl").write_text(
        "".join(json.dumps({"iteration": i, "triplet/loss": 1 / i}) + "\n" for i in (10, 20))
    )
    for iteration in (10, 20):
        save_checkpoint(checkpoint_path(folder.checkpoints, "run", iteration), {"model": {"w": torch.zeros(1)}})
    write_state(folder, 20, 100, speed=2.0)
    return folder


def alter_state(folder: RunFolder, **changes: Any) -> None:
    path = folder.logs / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_running_run(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    actual = status(folder.root)
    assert (actual["state"], actual["iteration"], actual["total"]) == ("running", 20, 100)
    assert actual["seconds_left"] == 40.0
    assert actual["losses"] == {"triplet/loss": 0.05}
    assert actual["checkpoint"] == "run-00020.pt"
    assert actual["warnings"] == ["2 ids are not on disk"]
    assert cli.main(["status", str(folder.root)]) == 0
    text = capsys.readouterr().out
    assert "iteration   20 of 100, 2.00 it/s, 40 s left" in text
    assert "triplet/loss 0.05" in text


@pytest.mark.parametrize("kind", ["finished", "interrupted", "failed"])
def test_a_run_that_ended(folder: RunFolder, kind: str) -> None:
    add_event(folder, kind, why="so it was")
    actual = status(folder.root)
    assert (actual["state"], actual["why"]) == (kind, "so it was")
    add_event(folder, "started", notes=[])
    assert status(folder.root)["state"] == "running"
    assert status(folder.root)["starts"] == 2


def test_a_run_whose_process_is_gone_is_lost(folder: RunFolder) -> None:
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    alter_state(folder, process=process)
    assert status(folder.root)["state"] == "lost"


@pytest.mark.parametrize(("time", "state"), [("2020-01-01T00:00:00+00:00", "lost"), (None, "running")])
def test_a_run_on_another_machine_is_judged_by_its_last_event(folder: RunFolder, time: str | None, state: str) -> None:
    alter_state(folder, host=f"not-{socket.gethostname()}", **({"time": time} if time else {}))
    if time:  # its events are recent
        (folder.logs / "events.jsonl").unlink()
    assert status(folder.root)["state"] == state


def test_damaged_checkpoints_are_named(folder: RunFolder) -> None:
    newest = checkpoint_path(folder.checkpoints, "run", 20)
    newest.write_bytes(newest.read_bytes()[:-10])
    actual = status(folder.root)
    assert actual["checkpoint"] == "run-00010.pt"
    assert actual["damaged"] == ["run-00020.pt"]


def test_an_incomplete_line_is_skipped(folder: RunFolder) -> None:
    with (folder.logs / "events.jsonl").open("a") as file:
        file.write('{"kind": "sav')
    assert [event["kind"] for event in read_lines(folder.logs / EVENTS)] == ["started"]
    assert status(folder.root)["state"] == "running"


def test_json(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", str(folder.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == status(folder.root)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run's folder"):
        status(tmp_path)
