"""What the files of a run say about it."""

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
    made = RunFolder(tmp_path / "run", "run")
    made.create()
    add_event(made, "started", phase="training", notes=["2 ids are not on disk"])
    (made.logs / "scalars.jsonl").write_text(
        "".join(json.dumps({"iteration": i, "triplet/loss": 1 / i}) + "\n" for i in (10, 20))
    )
    for iteration in (10, 20):
        save_checkpoint(checkpoint_path(made.checkpoints, "run", iteration), {"model": {"w": torch.zeros(1)}})
    write_state(made, 20, 100, speed=2.0)
    return made


def altered(folder: RunFolder, **changes: Any) -> None:
    path = folder.logs / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_run_that_goes_on(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(folder.root)
    assert (found["state"], found["iteration"], found["total"]) == ("running", 20, 100)
    assert found["seconds_left"] == 40.0
    assert found["losses"] == {"triplet/loss": 0.05}
    assert found["checkpoint"] == "run-00020.pt"
    assert found["warnings"] == ["2 ids are not on disk"]
    assert cli.main(["status", str(folder.root)]) == 0
    text = capsys.readouterr().out
    assert "iteration   20 of 100, 2.00 it/s, 40 s left" in text
    assert "triplet/loss 0.05" in text


@pytest.mark.parametrize("kind", ["finished", "interrupted", "failed"])
def test_how_it_ended(folder: RunFolder, kind: str) -> None:
    add_event(folder, kind, why="so it was")
    found = status(folder.root)
    assert (found["state"], found["why"]) == (kind, "so it was")
    add_event(folder, "started", notes=[])
    assert status(folder.root)["state"] == "running"
    assert status(folder.root)["starts"] == 2


def test_a_killed_run_is_lost(folder: RunFolder) -> None:
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    altered(folder, process=process)
    assert status(folder.root)["state"] == "lost"


@pytest.mark.parametrize(("time", "state"), [("2020-01-01T00:00:00+00:00", "lost"), (None, "running")])
def test_a_run_on_another_machine_is_known_by_its_words(folder: RunFolder, time: str | None, state: str) -> None:
    altered(folder, host=f"not-{socket.gethostname()}", **({"time": time} if time else {}))
    if time:  # the events are of now: they would be its last word
        (folder.logs / "events.jsonl").unlink()
    assert status(folder.root)["state"] == state


def test_damaged_checkpoints_are_named(folder: RunFolder) -> None:
    newest = checkpoint_path(folder.checkpoints, "run", 20)
    newest.write_bytes(newest.read_bytes()[:-10])
    found = status(folder.root)
    assert found["checkpoint"] == "run-00010.pt"
    assert found["damaged"] == ["run-00020.pt"]


def test_a_cut_line_is_left_out(folder: RunFolder) -> None:
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
