#!/usr/bin/env bash
# Lint, format, types, secrets, documentation, tests: what a change must pass. Arguments go to pytest: bash scripts/test.sh tests/training -k resume
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/environment.sh
activate_environment
install_requirements requirements.txt tests/requirements.txt
install_browser

echo "[1/6] ruff check" && python -m ruff check .
echo "[2/6] ruff format" && python -m ruff format --check .
echo "[3/6] mypy" && python -m mypy
echo "[4/6] secrets"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  python -m pre_commit run secrets --all-files
fi
echo "[5/6] documentation" && bash scripts/site.sh
echo "[6/6] pytest"
# Two tests at a time, with a thread each unless said otherwise; threads that spin while they wait would take the other's core.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest --numprocesses 2 --dist worksteal "$@"
