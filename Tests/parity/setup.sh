#!/usr/bin/env bash
# Makes or updates .venv-parity from requirements.txt; does nothing when it is in place.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
wanted=$root/Tests/parity/requirements.txt
stamp=$root/.venv-parity/requirements.installed
cmp -s "$wanted" "$stamp" && exit 0
[ -x "$root/.venv-parity/bin/python" ] || python3 -m venv "$root/.venv-parity"
"$root/.venv-parity/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
cp "$wanted" "$stamp"
