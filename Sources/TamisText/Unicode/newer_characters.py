#!/usr/bin/env python3
"""Writes newer_characters.txt: what Unicode 15.1 to 17.0 added to the 15.0 that Debian's package unicode-data holds.

The peers we must equal use newer tables than 15.0 (generate_tables.py lists them). Needs three versions side by side:
    for v in 15.1.0 16.0.0 17.0.0; do pip install --no-deps --target DIRECTORY/$v unicodedata2==$v; done
    python3 newer_characters.py DIRECTORY
"""
import json
import os
import pathlib
import subprocess
import sys

from generate_tables import general_categories

HERE = pathlib.Path(__file__).resolve().parent
HEADER = """\
# Characters of Unicode 15.1, 16.0 and 17.0 that the 15.0 files do not have, and characters whose general category changed:
# code points ; general category ; version [; first simple lower-case mapping of the run]
# Written by newer_characters.py from three versions of the Python package unicodedata2; do not edit.
"""
PROGRAM = """
import json, unicodedata2 as u
print(json.dumps([[u.category(chr(c)), u.name(chr(c), "")] for c in range(0x110000)]))
"""


def characters(directory: pathlib.Path):
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    before = general_categories()
    lines = []
    for version in ("15.1.0", "16.0.0", "17.0.0"):
        now = characters(pathlib.Path(sys.argv[1]) / version)
        named = {name: c for c, (_, name) in enumerate(now) if name}
        runs: list[list] = []
        for c, (category, name) in enumerate(now):
            if category == before[c]:
                continue
            # A capital's lower case is the small letter of the same name; the mapping of every one is tested against a peer.
            lower = named.get(name.replace("CAPITAL", "SMALL"), c) - c if category == "Lu" else 0
            if runs and runs[-1][1] == c - 1 and runs[-1][2:] == [category, lower]:
                runs[-1][1] = c
            else:
                runs.append([c, c, category, lower])
        for first, last, category, lower in runs:
            points = f"{first:04X}" + (f"..{last:04X}" if last > first else "")
            lines.append(f"{points} ; {category} ; {version[:-2]}" + (f" ; {first + lower:04X}" if lower else ""))
        before = [category for category, _ in now]
    (HERE / "newer_characters.txt").write_text(HEADER + "\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
