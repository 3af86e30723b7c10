#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that are missing; silent when all are there. Other systems: the list is docs/building.md's.
set -euo pipefail
packages=(
  libopenblas-dev ocl-icd-opencl-dev opencl-headers libzstd-dev pocl-opencl-icd
  cmake ninja-build pkg-config g++ binutils perl qemu-user nlohmann-json3-dev libcli11-dev python3-venv
)
if ! command -v swift >/dev/null; then
  echo "no swift in PATH; install Swift 6.3 from https://swift.org/install" >&2
  exit 1
fi
if ! command -v dpkg-query >/dev/null; then
  for tool in cmake ninja pkg-config c++ nm perl python3; do
    command -v $tool >/dev/null || { echo "$tool is missing; docs/building.md lists what to install" >&2; exit 1; }
  done
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
  "${as_root[@]}" apt-get update >/dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null
}
