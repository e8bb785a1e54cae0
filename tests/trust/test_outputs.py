"""Outputs: no passwords, escaped names in every format, and no partial files on a full disk."""

import contextlib
import csv
import io
import json
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from conftest import TreeFactory
from dygait import cli
from dygait.commands import prepare
from dygait.data.collate import Batch
from dygait.data.stores.pickles import PickleTreeWriter
from dygait.errors import LocalError, UserError
from dygait.evaluation.tables import cell
from dygait.files import write_atomically
from dygait.modeling import build_model
from dygait.reporting.page import page
from dygait.reporting.tables import to_csv
from dygait.runs.checkpoint_files import save_checkpoint
from dygait.runs.memory import explained_memory
from dygait.testing.extraction import EmbeddingSettings, embed
from dygait.untrusted import printable
from helpers import raw
from helpers.experiments import make_experiment, save_features, tiny_settings
from helpers.report_runs import make_run

SECRET = "correct horse battery staple"


# Passwords


@pytest.mark.parametrize("fails", [False, True])
def test_a_password_is_written_nowhere(
    tmp_path: Path, fails: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = raw.packed(tmp_path / "raw", "OUMVLP", "something else" if fails else SECRET)
    monkeypatch.delenv("DYGAIT_PASSWORD", raising=False)
    monkeypatch.setattr(prepare.getpass, "getpass", lambda prompt: SECRET)  # type: ignore[attr-defined]
    arguments = ["prepare", "OUMVLP", "--input", *map(str, inputs), "--output", str(tmp_path / "out"), "--password"]
    assert cli.main([*arguments, "--workers", "1"]) == (2 if fails else 0)
    output = "".join(capfd.readouterr())
    assert SECRET not in output
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path not in inputs]
    assert written or fails
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


def test_a_prompt_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(prepare.getpass, "getpass", closed)  # type: ignore[attr-defined]
    assert cli.main(["prepare", "OUMVLP", "--input", str(tmp_path), "--output", str(tmp_path / "o"), "--password"]) == 2
    assert "DYGAIT_PASSWORD" in capsys.readouterr().err


def test_the_record_of_a_run_has_no_secrets_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYGAIT_PASSWORD", SECRET)
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    experiment = make_experiment(tmp_path)
    experiment.train("trainer_cfg.total_iter=1", "trainer_cfg.save_iter=1")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
    record = json.loads((experiment.folder / "logs" / "run_train.json").read_text())
    assert record["packages"]["numpy"] == np.__version__
    assert record["code"] == {}
    assert {"git", "data", "command", "device", "host", "system", "environment"} <= record.keys()
    state = json.loads((experiment.folder / "logs" / "state.json").read_text())
    assert state["memory"] > 2**20
    assert state["sequences_per_second"] > 0


# Names

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_name_is_a_formula(name: str) -> None:
    run = replace(make_run(), name=name)
    rows = list(csv.reader(io.StringIO(to_csv([run]), newline="")))
    assert {row[0] for row in rows[1:]} == {cell(name)}
    assert {len(row) for row in rows} == {8}
    assert not cell(name).startswith(("=", "+", "-", "@", "\t", "\r"))
    for plain in ("-45", "+1.5", "090", "nm-01", ""):
        assert cell(plain) == plain


@pytest.mark.parametrize(
    "name", ["</script><script>x", "\"'><img src=x onerror=y>", "]]><!--", "\ud800", "\x1b]0;x\x07"]
)
def test_no_name_is_markup(name: str, tmp_path: Path) -> None:
    html = page([replace(make_run(), name=name)])
    for forbidden in ("<script", "<img src=x", "<!--", "\ud800", "\x1b"):
        assert forbidden not in html
    write_atomically(tmp_path / "x.html", html + "\ud800")
    assert (tmp_path / "x.html").read_bytes().endswith(b"\\ud800")


def test_messages_do_not_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2J\u202eb\nc\ud800é") == "a\\x1b[2J\\u202eb\nc\\ud800é"
    assert cli.main(["status", "/no\x1b[2Jwhere"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["..", "a/b", "", "a\0b", "/etc", "a\nb"])
def test_sequences_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    for key in ((name, "nm-01", "000"), ("001", name, "000"), ("001", "nm-01", name)):
        with pytest.raises(UserError, match="cannot be the name"):
            PickleTreeWriter(tmp_path / "out").write(*key, np.zeros((1, 2, 2), np.uint8))
    assert list(tmp_path.rglob("*")) == []


# Full disks


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Limit the size of files, so that writes fail as on a full disk."""
    previous_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous_limit)
        signal.signal(signal.SIGXFSZ, handler)


def commands(folder: Path, tree: TreeFactory) -> dict[str, list[str]]:
    """Return the arguments of each command, which writes to `out`."""
    settings = tiny_settings(folder / "data", folder / "p.json")
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    tree(folder / "data", ids=("001",), size=(64, 44))
    cli.main(["pack", str(folder / "data"), str(folder / "store")])
    save_checkpoint(folder / "a.pt", {"model": build_model(settings["model_cfg"], "CASIA-B").state_dict()})
    columns = ["001", "001", "002", "002"], ["nm-01", "nm-05"] * 2, ["000", "090"] * 2
    numbers = np.random.default_rng(0).normal(size=(4, 2, 2))
    save_features(folder / "f", numbers, *columns, [9] * 4, {"protocol": "CASIA-B"})
    raw.packed(folder / "raw", "CASIA-A")
    out = str(folder / "out" / "x")
    return {
        "pack": ["pack", str(folder / "data"), out],
        "unpack": ["unpack", str(folder / "store"), out],
        "convert": ["convert", str(folder / "a.pt"), f"{out}.pt", "--cfgs", str(folder / "c.yaml"), "--to", "dygait"],
        "report": ["report", str(folder / "f"), "--output", f"{out}.html"],
        "evaluate": ["evaluate", str(folder / "f"), "--ranks-only", "--json", f"{out}.json"],
        "prepare": ["prepare", "CASIA-A", "--input", str(folder / "raw"), "--output", out, "--workers", "1"],
        "info": ["info", str(folder / "data"), "--sheet", f"{out}.png"],
    }


@pytest.mark.parametrize("fault", ["full disk", "no folder"])
@pytest.mark.parametrize("name", ["pack", "unpack", "convert", "report", "evaluate", "prepare", "info"])
def test_a_full_disk(
    name: str, fault: str, tmp_path: Path, silhouette_tree: TreeFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = commands(tmp_path, silhouette_tree)[name]
    if fault == "no folder":
        (tmp_path / "out").write_text("a file where a folder should be")
    else:
        (tmp_path / "out").mkdir()
    capsys.readouterr()
    with full_disk(200) if fault == "full disk" else contextlib.nullcontext():
        code = cli.main(arguments)
    output = capsys.readouterr().err
    lines = [line for line in output.splitlines() if line.startswith("dygait: error: ")]
    assert code == 2, output
    assert len(lines) == 1, output
    assert "Traceback" not in output
    if fault == "full disk":
        files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert not [path for path in files if path.suffix in (".pt", ".html", ".png", ".part", ".pkl")]
        assert not [path for path in files if path.name.startswith(".") and path.name not in (".lock", ".prepare.lock")]


# Out of memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_is_explained(error: Exception) -> None:
    def model(*inputs: Any) -> Any:
        raise error

    batch = Batch(torch.zeros(2, 3, 1, 4, 5, dtype=torch.uint8), None, torch.zeros(2), torch.arange(2))
    with pytest.raises(LocalError, match=r"2 sequences of 3 frames of 4x5.*evaluator_cfg.sampler.frames_budget"):
        embed(model, batch, torch.device("cpu"), EmbeddingSettings())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="something else"), explained_memory(batch, "nothing"):
        raise RuntimeError("something else")
