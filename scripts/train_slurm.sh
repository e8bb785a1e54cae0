#!/usr/bin/env bash
# Training, or a test, on several nodes of a Slurm cluster: one torchrun per node, one process per GPU.
#
#   sbatch --nodes=2 scripts/train_slurm.sh --cfgs configs/Dygait_GREW.yaml --phase train --log_to_file
#
# Arguments go to lib/main.py. Submit from the repository's root with the Python environment active. PROCESSES_PER_NODE
# says how many processes where it is not the number of GPUs; PORT, where 29500 is taken.
#SBATCH --job-name=dygait
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --output=output/slurm-%j.txt
set -euo pipefail

# One node is where all meet: the first. (Through `head`, which may close the pipe too early, the script would end here.)
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_node=${nodes%%$'\n'*}
srun torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" \
    --nproc_per_node="${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}" \
    --rdzv_id="$SLURM_JOB_ID" \
    --rdzv_backend=c10d \
    --rdzv_endpoint="$head_node:${PORT:-29500}" \
    lib/main.py "$@"
