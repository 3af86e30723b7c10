#!/usr/bin/env python3
"""Writes EmbeddedKernels.swift: the text of Kernels/*.cl as Swift string literals, so that nothing is looked up at run time.
Comments and indentation stay behind; lines keep their numbers, which compilers' messages name.

Run it after every change of a .cl file; a test compares. `--check` writes nothing and fails when the file is out of date.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT = HERE / "EmbeddedKernels.swift"


def generate() -> str:
    lines = [
        "// Written by embed_kernels.py from Kernels/*.cl; do not edit.",
        "",
        "/// The OpenCL C programs; each but `common` is compiled behind `common`.",
        "enum EmbeddedKernels {",
    ]
    for path in sorted((HERE / "Kernels").glob("*.cl")):
        text = path.read_text(encoding="ascii")
        if '"' in text or "/*" in text or not text.endswith("\n"):
            raise SystemExit(f"{path.name}: must end with a newline and must hold no string and no /*")
        words = path.stem.split("_")
        name = words[0] + "".join(word.capitalize() for word in words[1:])
        lines.append(f'  static let {name} = #"""')
        lines += [("    " + re.sub(r"//.*", "", line).strip()).rstrip() for line in text.split("\n")]
        lines.append('    """#')
        lines.append("")
    lines[-1] = "}"
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = generate()
    if "--check" in sys.argv:
        if not OUTPUT.exists() or OUTPUT.read_text() != text:
            raise SystemExit("EmbeddedKernels.swift is out of date: run Sources/TamisDevice/OpenCL/embed_kernels.py")
    else:
        OUTPUT.write_text(text)
