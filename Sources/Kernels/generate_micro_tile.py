#!/usr/bin/env python3
"""Writes MicroTileNNxMM.swift: the register tiles of the prefill kernels, one per vector register file.

Swift keeps an accumulator in a register only when it has a name (arrays and tuples of vectors spill), hence a generator.
Run it in this folder: `python3 generate_micro_tile.py`.
"""

HEADER = '''\
// Written by generate_micro_tile.py.
import CShims

{guard}
/// The register tile of this level: `tileRows` rows of A times `tileLanes` lanes of B.
let tileRows = {rows}
let tileLanes = {lanes}
'''

DOC = {
    "f32": '''\
/// C[row][lane] (+)= sum over step of A[row][step] * B[step][lane], for {rows} rows and {lanes} lanes.
///
/// A is read in place: `aRow` and `aStep` are its strides in bytes, so the same tile serves K . Q^T (steps along a row)
/// and V^T . P^T (steps down a column). B and C have rows of `panelBytes`. Of the {rows} rows the first `rows` are stored;
/// the others repeat the last one, so nothing out of bounds is read.
''',
    "bf16": '''\
/// As `tileF32`, where an element of A and of B is a pair of bf16 and a step adds both products.
''',
}


def tile(kind, rows, vectors):
    lanes = 16 * vectors
    name = "tileF32" if kind == "f32" else "tileBF16"
    out = [DOC[kind].format(rows=rows, lanes=lanes).rstrip("\n")]
    out += ["@inline(__always)",
            f"func {name}(",
            "  _ a: UnsafeRawPointer, aRow: Int, aStep: Int, _ b: UnsafeRawPointer, steps: Int,",
            "  _ c: UnsafeMutableRawPointer, rows: Int, adding: Bool",
            ") {"]
    out.append("  let last = rows &- 1")
    out.append("  var a0 = a")
    for r in range(1, rows):
        out.append(f"  var a{r} = a + (last < {r} ? last : {r}) &* aRow")
    for r in range(rows):
        for v in range(vectors):
            out.append(f"  var c{r}{v} = F32x16.zero")
    out.append("  var b = b")
    out.append("  var left = steps")
    out.append("  while left > 0 {")
    load = "loadF32" if kind == "f32" else "loadU32"
    splat = "splatF32" if kind == "f32" else "splatU32"
    madd = "multiplyAdd" if kind == "f32" else "tk_dot_bf16"
    for v in range(vectors):
        out.append(f"    let b{v} = {load}(b, {64 * v})")
    for r in range(rows):
        out.append(f"    let s{r} = {splat}(a{r})")
        for v in range(vectors):
            out.append(f"    c{r}{v} = {madd}(c{r}{v}, s{r}, b{v})")
        out.append(f"    a{r} += aStep")
    out.append("    b += panelBytes")
    out.append("    left &-= 1")
    out.append("  }")
    for r in range(rows):
        body = [f"{'' if rows == 1 or r == 0 else '  '}  storeF32(c{r}{v}, c, {r} &* panelBytes &+ {64 * v}, adding: adding)"
                for v in range(vectors)]
        if r == 0:
            out += body
        else:
            out += [f"  if last >= {r} {{"] + body + ["  }"]
    out.append("}")
    return "\n".join(out) + "\n"


def write(rows, vectors, guard, kinds, bf16_guard=None):
    lanes = 16 * vectors
    parts = [HEADER.format(guard=guard, rows=rows, lanes=lanes)]
    parts.append(tile("f32", rows, vectors))
    if "bf16" in kinds:
        parts.append("#if ISA_V4X\n" + tile("bf16", rows, vectors) + "#endif\n")
    with open(f"MicroTile{rows}x{lanes}.swift", "w") as f:
        f.write("\n".join(parts) + "#endif\n")


write(8, 2, "#if ISA_V4 || ISA_V4X", {"f32", "bf16"})
write(6, 1, "#if ISA_V3", {"f32"})
write(4, 1, "#if ISA_NEON", {"f32"})
write(2, 1, "#if ISA_V2", {"f32"})
