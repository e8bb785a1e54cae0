#!/usr/bin/env bash
# Everything once, on this machine: install what is missing, make the synthetic walkers, train DyGait on them, and test it
# beside the weights that ship.
#
#   bash scripts/quickstart.sh [SECTION.KEY=VALUE ...]
#
# A second run makes no data and trains afresh. Overrides go to the runner: trainer_cfg.total_iter=100.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

overrides=()
for argument in "$@"; do
    case "$argument" in
    -h | --help)
        sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    [!-]*.*=*) overrides+=(--set "$argument") ;;
    *)
        echo "error: $argument: give overrides as SECTION.KEY=VALUE, or nothing" >&2
        exit 2
        ;;
    esac
done

source scripts/environment.sh
activate_environment
install_requirements requirements.txt
install_command
SECONDS=0

config=configs/Dygait_SynGait_quick.yaml
export PYTHONPATH="$PWD/lib${PYTHONPATH:+:$PYTHONPATH}"
# The iteration is named at the test: an earlier, longer run may have left a later checkpoint.
run=$(
    python - "$config" "$@" <<'PYTHON'
import sys

from dygait.config import load_config
from dygait.runs.folder import run_folder
from dygait.errors import UserError

try:
    config = load_config(sys.argv[1], sys.argv[2:])
except UserError as error:
    sys.exit(f"error: {error}")
print(run_folder("output", config, config.trainer_cfg.save_name).root, config.trainer_cfg.total_iter)
PYTHON
)
folder=${run% *} iterations=${run##* }

echo "[1/4] the synthetic walkers of SynGait, in datasets/SynGait/data"
python -m dygait synth --preset quick --output datasets/SynGait/data
echo "[2/4] training: $config"
python lib/main.py --cfgs "$config" --phase train --log_to_file ${overrides[@]+"${overrides[@]}"}
echo "[3/4] testing"
python lib/main.py --cfgs "$config" --phase test --log_to_file --iter "$iterations" ${overrides[@]+"${overrides[@]}"}
echo "[4/4] syngait/small, the smaller of the weights that ship, which were trained for other people and cameras, on the same walkers"
python lib/main.py --cfgs "$config" --phase test --weights syngait/small ${overrides[@]+"${overrides[@]}"}

printf '\nDone in %d min %02d s, installation not counted.\n' $((SECONDS / 60)) $((SECONDS % 60))
echo "checkpoint    $(ls "$folder"/checkpoints/*-"$(printf %05d "$iterations")".pt)"
echo "log           $folder/logs"
command=dygait
[[ -n "${constraints[*]-}" ]] && command="source .venv/bin/activate; dygait"
echo "your own data $command --help, docs/adding_a_dataset.md"
echo "TensorBoard   tensorboard --logdir $folder/summary"
