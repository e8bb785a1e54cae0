#!/usr/bin/env bash
# What takes too long for every change: memory and open files of a long run, then every fault and every fuzz test in its
# long form. Exits with a code other than 0 on a failure.
#
#   bash scripts/soak.sh [MINUTES]      # of the long run, 60; 0: the faults and the fuzzing alone
#
# The figures of the long run go to output/soak.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes="${1:-60}"
if [[ $# -gt 1 || ! "$minutes" =~ ^[0-9]+([.][0-9]+)?$ ]]; then
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    [[ "$minutes" == -h || "$minutes" == --help ]] && exit 0
    exit 2
fi

source scripts/environment.sh
activate_environment
install_requirements requirements.txt tests/requirements.txt
export OMP_WAIT_POLICY=passive PYTHONPATH="$PWD/lib${PYTHONPATH:+:$PYTHONPATH}"
failed=0

if [[ ! "$minutes" =~ ^0+([.]0+)?$ ]]; then
    echo "[1/2] a run of $minutes minutes"
    python scripts/soak.py "$minutes" --json output/soak.json || failed=1
fi
echo "[2/2] faults and fuzzing, the long form"
suites=(tests/faults)
[[ -d tests/fuzz ]] && suites+=(tests/fuzz)
DYGAIT_FAULTS=long python -m pytest "${suites[@]}" || failed=1
exit "$failed"
