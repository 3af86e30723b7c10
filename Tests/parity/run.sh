#!/usr/bin/env bash
# Compares libtamis with torch and transformers. Makes .venv-parity on first use; prints "N passed, N failed".
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bash "$root/Tests/parity/setup.sh" || exit 1
export PYTHONPATH=$root/bindings/python/src HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$root/.venv-parity/bin/python" -m pytest -q -p no:cacheprovider --junitxml="$report" -c "$root/Tests/parity/pytest.ini" "$root/Tests/parity" "$@"
code=$?
"$root/.venv-parity/bin/python" - "$report" <<'PY'
import sys
import xml.etree.ElementTree as tree

suite = tree.parse(sys.argv[1]).getroot().find("testsuite").attrib
failed = int(suite["failures"]) + int(suite["errors"])
skipped = int(suite["skipped"])
print(f"{int(suite['tests']) - failed - skipped} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
PY
exit $code
