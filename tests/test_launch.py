"""Every way to start a run: each trains and tests a tiny experiment, on the CPU, in processes of its own."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import ranks
from helpers.experiments import REPOSITORY, Experiment, command, environment, free_port

SHORT = ("trainer_cfg.total_iter=2", "trainer_cfg.save_iter=2", "data_cfg.num_workers=1", "trainer_cfg.sync_BN=true")


def check(experiment: Experiment, said: str, processes: int, *phases: str) -> None:
    assert f"{processes} process(es) on cpu" in said
    assert said.count("iteration 2/2:") == 1, "rank 0 alone prints"
    assert [row["iteration"] for row in experiment.scalars()] == [1, 2]
    assert (experiment.checkpoints / "tiny-00002.pt").is_file()
    result = json.loads((experiment.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert set(result["percentages"]) == {"NM", "BG", "CL"}
    for phase in phases:
        record = json.loads((experiment.folder / "logs" / f"run_{phase}.json").read_text())
        assert record["processes"] == processes


def float64_variables(folder: Path) -> dict[str, str]:
    """Return what makes a command's processes train in float64, launched ones too.

    In float32 two processes round otherwise than one, and AdamW's first step makes much of it: it moves a weight by the
    learning rate, whatever its gradient's size, so that one whose gradient is all rounding goes either way.
    """
    (folder / "sitecustomize.py").write_text("from helpers import ranks\n\nranks.in_float64()\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), environment()["PYTHONPATH"]])}


@pytest.fixture(scope="module")
def alone(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The curve of one process, in float64."""
    run = shared.at(tmp_path_factory.mktemp("alone"))
    assert ranks.start(run, 1, *SHORT, fault=ranks.in_float64).codes() == [0]
    return [pytest.approx(row, rel=1e-9) for row in run.scalars()]


def script(experiment: Experiment, phase: str) -> list[str]:
    return ["lib/main.py", *experiment.arguments(phase, *SHORT)]


def output_of(*arguments: str, **variables: str) -> str:
    done = command(*arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_process(experiment: Experiment) -> None:
    """By the script, with what old launchers pass; by the command, as the installed one, in place of `--phase`."""
    said = output_of(*script(experiment, "train"), "--local_rank=0")
    arguments = experiment.arguments("test", *SHORT)
    at = arguments.index("--phase")
    del arguments[at : at + 2]
    check(experiment, said + output_of("-m", "dygait", "test", *arguments), 1, "train", "test")


def launcher(module: str) -> list[str]:
    return ["-m", f"torch.distributed.{module}", "--nproc_per_node=2", f"--master_port={free_port()}"]


def test_launchers(experiment: Experiment, alone: list[Any], tmp_path: Path) -> None:
    """The old one, as in the field's READMEs, which passes --local-rank to the script, and `torchrun`."""
    said = output_of(*launcher("launch"), *script(experiment, "train"), "--log_to_file", **float64_variables(tmp_path))
    said += output_of(*launcher("run"), *script(experiment, "test"), "--log_to_file")
    check(experiment, said, 2, "train", "test")
    assert len(list((experiment.folder / "logs").glob("*.txt"))) == 2
    assert experiment.scalars() == alone


STAND_INS = {
    # As on a cluster: the names of the nodes, and a command run once on each of them.
    "scontrol": "#!/bin/sh\necho localhost\necho localhost\n",
    "srun": '#!/bin/sh\n"$@" &\nfirst=$!\n"$@" &\nsecond=$!\nwait $first && wait $second\n',
    "torchrun": f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n',
}


def test_two_nodes(experiment: Experiment, alone: list[Any], tmp_path: Path) -> None:
    """The cluster script itself, with stand-ins for Slurm: two agents on loopback, one process each."""
    for name, content in STAND_INS.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    slurm = {
        "SLURM_JOB_NODELIST": "localhost,localhost", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7",
        "PROCESSES_PER_NODE": "1", "PORT": str(free_port()), **float64_variables(tmp_path),
        "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "scripts/train_slurm.sh", *experiment.arguments("train", *SHORT, "trainer_cfg.with_test=true")],
        cwd=REPOSITORY, env=environment(**slurm), capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check(experiment, done.stdout, 2, "train")
    assert experiment.scalars() == alone
