"""Every way to start a run trains and tests a tiny experiment, in separate processes on the CPU."""

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


def check(experiment: Experiment, output: str, processes: int, *phases: str) -> None:
    assert f"{processes} process(es) on cpu" in output
    assert output.count("iteration 2/2:") == 1, "rank 0 alone prints"
    assert [row["iteration"] for row in experiment.scalars()] == [1, 2]
    assert (experiment.checkpoints / "tiny-00002.pt").is_file()
    result = json.loads((experiment.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert set(result["percentages"]) == {"NM", "BG", "CL"}
    for phase in phases:
        record = json.loads((experiment.folder / "logs" / f"run_{phase}.json").read_text())
        assert record["processes"] == processes


def float64_variables(folder: Path) -> dict[str, str]:
    """Return environment variables with which the processes of a command train in float64, also those of a launcher.

    In float32 two processes round differently from one, and AdamW's first step amplifies it: it changes a weight by the
    learning rate whatever the size of its gradient, so that a gradient of rounding errors decides the direction.
    """
    (folder / "sitecustomize.py").write_text("from helpers import ranks\n\nranks.in_float64()\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), environment()["PYTHONPATH"]])}


@pytest.fixture(scope="module")
def alone(shared: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The logged statistics of one process, in float64."""
    run = shared.at(tmp_path_factory.mktemp("alone"))
    assert ranks.start(run, 1, *SHORT, fault=ranks.in_float64).codes() == [0]
    return [pytest.approx(row, rel=1e-9) for row in run.scalars()]


def script(experiment: Experiment, phase: str) -> list[str]:
    return ["lib/main.py", *experiment.arguments(phase, *SHORT)]


def output_of(*arguments: str, **variables: str) -> str:
    result = command(*arguments, **variables)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_one_process(experiment: Experiment) -> None:
    """`lib/main.py`, with the argument of old launchers, and the command `dygait test`."""
    output = output_of(*script(experiment, "train"), "--local_rank=0")
    arguments = experiment.arguments("test", *SHORT)
    position = arguments.index("--phase")
    del arguments[position : position + 2]
    check(experiment, output + output_of("-m", "dygait", "test", *arguments), 1, "train", "test")


def launcher(module: str) -> list[str]:
    return ["-m", f"torch.distributed.{module}", "--nproc_per_node=2", f"--master_port={free_port()}"]


def test_launchers(experiment: Experiment, alone: list[Any], tmp_path: Path) -> None:
    """`torch.distributed.launch`, which passes --local-rank to the script, and `torchrun`."""
    output = output_of(
        *launcher("launch"), *script(experiment, "train"), "--log_to_file", **float64_variables(tmp_path)
    )
    output += output_of(*launcher("run"), *script(experiment, "test"), "--log_to_file")
    check(experiment, output, 2, "train", "test")
    assert len(list((experiment.folder / "logs").glob("*.txt"))) == 2
    assert experiment.scalars() == alone


STAND_INS = {  # of Slurm: the names of the nodes, and running a command once on each
    "scontrol": "#!/bin/sh\necho localhost\necho localhost\n",
    "srun": '#!/bin/sh\n"$@" &\nfirst=$!\n"$@" &\nsecond=$!\nwait $first && wait $second\n',
    "torchrun": f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n',
}


def test_two_nodes(experiment: Experiment, alone: list[Any], tmp_path: Path) -> None:
    """The script for clusters, with stand-ins for Slurm: two agents on loopback, one process each."""
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
    result = subprocess.run(
        ["bash", "scripts/train_slurm.sh", *experiment.arguments("train", *SHORT, "trainer_cfg.with_test=true")],
        cwd=REPOSITORY, env=environment(**slurm), capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    check(experiment, result.stdout, 2, "train")
    assert experiment.scalars() == alone
