#!/usr/bin/env bash
# Training, or a test, on several machines: run the same command on each. On Slurm, scripts/train_slurm.sh does this.
#
#   NODES=2 HEAD=node0.example scripts/train_nodes.sh --cfgs configs/Dygait_GREW.yaml --phase train --log_to_file
#
# Arguments go to lib/main.py. Start it in the repository's root with the Python environment active; data and output
# belong on a disk that all machines see. HEAD is the machine where all meet. NODES may be a range, 1:2: then the run
# continues with the remaining ones when one is lost. MAX_RESTARTS is how often the processes are restarted when one
# fails; use it with --resume. PROCESSES_PER_NODE is the number of processes if it is not the number of GPUs; PORT
# replaces 29500; RUN_ID distinguishes two runs at one port.
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
