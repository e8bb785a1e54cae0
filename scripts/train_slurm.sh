#!/usr/bin/env bash
# Training, or a test, on several nodes of a Slurm cluster: one torchrun per node, one process per GPU.
#
#   sbatch --nodes=2 scripts/train_slurm.sh --cfgs configs/Dygait_GREW.yaml --phase train --log_to_file
#
# Arguments go to scripts/train_nodes.sh, which lists further settings. Submit from the repository's root with the
# Python environment active. Two minutes before its time is up, the run saves and ends; --resume continues it.
#SBATCH --job-name=dygait
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --signal=TERM@120
#SBATCH --output=output/slurm-%j.txt
set -euo pipefail

# One node is where all meet: the first. (Through `head`, which may close the pipe too early, the script would end here.)
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export HEAD=${nodes%%$'\n'*} NODES=$SLURM_JOB_NUM_NODES RUN_ID=$SLURM_JOB_ID
export PROCESSES_PER_NODE=${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}
srun scripts/train_nodes.sh "$@"
