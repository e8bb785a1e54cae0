"""Every way to start a run: each trains and tests a tiny experiment, on the CPU, in processes of its own."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.experiments import REPOSITORY, Experiment, command, environment, free_port

PHASES = ("train", "test")
SHORT = ("trainer_cfg.total_iter=2", "trainer_cfg.save_iter=2", "data_cfg.num_workers=1", "trainer_cfg.sync_BN=true")


def check(experiment: Experiment, said: str, processes: int) -> None:
    assert f"{processes} process(es) on cpu" in said
    assert [row["iteration"] for row in experiment.scalars()] == [1, 2]
    assert (experiment.checkpoints / "tiny-00002.pt").is_file()
    result = json.loads((experiment.checkpoints / "tiny-00002-CASIA-B-euc.json").read_text())
    assert set(result["percentages"]) == {"NM", "BG", "CL"}
    for phase in PHASES:
        record = json.loads((experiment.folder / "logs" / f"run_{phase}.json").read_text())
        assert record["processes"] == processes


def in_float64(folder: Path) -> dict[str, str]:
    """Return what makes a command's processes train in float64, launched ones too.

    In float32 two processes round otherwise than one, and AdamW's first step makes much of it: it moves a weight by the
    learning rate, whatever its gradient's size, so that one whose gradient is all rounding goes either way.
    """
    (folder / "sitecustomize.py").write_text("from helpers import ranks\n\nranks.precise()\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), environment()["PYTHONPATH"]])}


def same_curve(experiment: Experiment, folder: Path, precise: dict[str, str]) -> None:
    alone = experiment.at(folder / "alone")
    output_of(*script(alone, "train"), **precise)
    for found, expected in zip(experiment.scalars(), alone.scalars(), strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


def script(experiment: Experiment, phase: str) -> list[str]:
    return ["lib/main.py", *experiment.arguments(phase, *SHORT)]


def output_of(*arguments: str, **variables: str) -> str:
    done = command(*arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain(experiment: Experiment) -> None:
    """`--local_rank` is what old launchers pass."""
    check(experiment, "".join(output_of(*script(experiment, phase), "--local_rank=0") for phase in PHASES), 1)


def test_console_script(experiment: Experiment) -> None:
    """The entry point's function, as the installed script calls it, with a command in place of `--phase`."""
    arguments = experiment.arguments("train", *SHORT)
    at = arguments.index("--phase")
    del arguments[at : at + 2]
    check(experiment, "".join(output_of("-m", "dygait", phase, *arguments) for phase in PHASES), 1)


def launcher(module: str) -> list[str]:
    return ["-m", f"torch.distributed.{module}", "--nproc_per_node=2", f"--master_port={free_port()}"]


def test_old_launcher(experiment: Experiment) -> None:
    """As in the field's READMEs: it passes --local-rank to the script."""
    output = "".join(output_of(*launcher("launch"), *script(experiment, p), "--log_to_file") for p in PHASES)
    check(experiment, output, 2)
    assert len(list((experiment.folder / "logs").glob("*.txt"))) == 2


def test_torchrun(experiment: Experiment, tmp_path: Path) -> None:
    precise = in_float64(tmp_path)
    output = "".join(output_of(*launcher("run"), *script(experiment, phase), **precise) for phase in PHASES)
    check(experiment, output, 2)
    assert output.count("iteration 2/2:") == 1, "rank 0 alone prints"
    same_curve(experiment, tmp_path, precise)


STAND_INS = {
    # As on a cluster: the names of the nodes, and a command run once on each of them.
    "scontrol": "#!/bin/sh\necho localhost\necho localhost\n",
    "srun": '#!/bin/sh\n"$@" &\nfirst=$!\n"$@" &\nsecond=$!\nwait $first && wait $second\n',
    "torchrun": f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n',
}


def test_two_nodes(experiment: Experiment, tmp_path: Path) -> None:
    """The cluster script itself, with stand-ins for Slurm: two agents on loopback, one process each."""
    for name, content in STAND_INS.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    said, precise = "", in_float64(tmp_path)
    for phase in PHASES:
        slurm = {
            "SLURM_JOB_NODELIST": "localhost,localhost", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": f"7{phase}",
            "PROCESSES_PER_NODE": "1", "PORT": str(free_port()), **precise,
            "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "scripts/train_slurm.sh", *experiment.arguments(phase, *SHORT)],
            cwd=REPOSITORY, env=environment(**slurm), capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said += done.stdout
    check(experiment, said, 2)
    same_curve(experiment, tmp_path, precise)
