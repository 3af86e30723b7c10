#!/usr/bin/env bash
# The tests of the binding, in an environment that holds numpy and pytest only (.venv-python). Needs a built library:
# .build/release/libtamis.so, or TAMIS_LIBRARY_PATH. Arguments go to pytest.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=$root/.venv-python/bin/python
[ -x "$python" ] || python3 -m venv "$root/.venv-python"
"$python" -c "import numpy, pytest" 2>/dev/null || "$python" -m pip install --quiet --disable-pip-version-check numpy pytest
cd "$here"
exec "$python" -m pytest -q -p no:cacheprovider "$@"
