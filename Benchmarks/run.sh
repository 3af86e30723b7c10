#!/usr/bin/env bash
# Sets up the peers' environment, builds the library unless TAMIS_LIBRARY_PATH names one, and runs bench.py with the arguments given.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bash "$root/Tests/parity/setup.sh"
[ -n "${TAMIS_LIBRARY_PATH:-}" ] || "$root/cmake/library.sh"
# OpenMP threads that spin after their work would take a core from whoever runs next in the loop.
export OMP_WAIT_POLICY=PASSIVE
export PYTHONPATH=$root/bindings/python/src
exec "$root/.venv-parity/bin/python" "$root/Benchmarks/bench.py" "$@"
