#!/usr/bin/env bash
# Lint, format, types, tests: what a change must pass. Arguments go to pytest: bash scripts/test.sh tests/engine -k resume
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

source scripts/environment.sh
activate_environment
install_requirements requirements.txt requirements-dev.txt
install_browser

echo "[1/5] ruff check" && python -m ruff check .
echo "[2/5] ruff format" && python -m ruff format --check .
echo "[3/5] mypy" && python -m mypy
echo "[4/5] secrets"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  python -m pre_commit run secrets --all-files
fi
echo "[5/5] pytest"
# Two tests at a time: threads that spin while they wait would take the other's core.
export OMP_WAIT_POLICY=passive
exec python -m pytest --numprocesses 2 --dist worksteal "$@"
