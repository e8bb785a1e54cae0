#!/usr/bin/env bash
# Training, or a test, on several machines: the same line on each of them. On Slurm, scripts/train_slurm.sh gives it.
#
#   NODES=2 HEAD=node0.example scripts/train_nodes.sh --cfgs configs/Dygait_GREW.yaml --phase train --log_to_file
#
# Arguments go to lib/main.py. Start it in the repository's root with the Python environment active; data and output
# belong on a disk that all machines see. HEAD is the machine where all meet. NODES may be a range, 1:2: then the run
# goes on with those that are left when one is lost. MAX_RESTARTS says how often the processes are started again when one
# fails; give --resume with it. PROCESSES_PER_NODE says how many processes where it is not the number of GPUs; PORT,
# where 29500 is taken; RUN_ID keeps two runs at one port apart.
set -euo pipefail

: "${NODES:?set NODES to the number of machines}" "${HEAD:?set HEAD to the machine where all meet}"
# A signal is passed on to the processes, which finish their iteration and save; newer PyTorch waits as long as it says.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}"
exec torchrun \
    --nnodes="$NODES" \
    --nproc_per_node="${PROCESSES_PER_NODE:-gpu}" \
    --max_restarts="${MAX_RESTARTS:-0}" \
    --rdzv_id="${RUN_ID:-dygait}" \
    --rdzv_backend=c10d \
    --rdzv_endpoint="$HEAD:${PORT:-29500}" \
    lib/main.py "$@"
