#!/usr/bin/env python3
"""Writes LinearTile.swift: the register tile of linear layers.

Swift keeps an accumulator in a register only when it has a name (arrays and tuples of vectors spill), hence a generator.
Run it in this folder: `python3 generate_linear_tile.py`.
"""

ROWS, VECTORS, UNROLL = 12, 2, 4

out = ['''\
// Written by generate_linear_tile.py.
import CShims

#if ISA_V4 || ISA_V4X
@inline(__always) var linearRows: Int { 12 }
@inline(__always) var linearVectors: Int { 2 }
#elseif ISA_V3 || ISA_NEON
@inline(__always) var linearRows: Int { 6 }
@inline(__always) var linearVectors: Int { 2 }
#else
@inline(__always) var linearRows: Int { 6 }
@inline(__always) var linearVectors: Int { 1 }
#endif

/// Y[row][lane] (+)= sum over word of X[row][word] * W[word][lane] for the first `rows` rows and one panel of W. `kind`
/// and `rows` are literals at every call, so what a smaller tile does not use folds away. Rows of x are read in place:
/// three share a pointer, which leaves registers for the others.
@inline(__always) func linearTile(
  _ kind: Int, _ rows: Int, _ x: UnsafeRawPointer, _ stride: Int, _ w: UnsafeRawPointer, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ yStride: Int, adding: Bool
) {
  let vector = kind == 2 ? i8VectorBytes : lanes &* 4''']
p = out.append
for r in range(ROWS):
    for v in range(VECTORS):
        p(f"  var c{r}{'ab'[v]} = ts_splat(0)")
p("  if adding {")
for r in range(ROWS):
    p(f"    if rows > {r} {{")
    p(f"      c{r}a = ts_load_f32(y + {r} &* yStride)")
    p(f"      if linearVectors > 1 {{ c{r}b = ts_load_f32(y + ({r} &* yStride &+ lanes &* 4)) }}")
    p("    }")
p("  }")
for g in range(0, ROWS, 3):
    p(f"  var x{g} = x + {g} &* stride")
p("  var w = w")
p("  var left = words")
p("  while left > 0 {")
for u in range(UNROLL):
    p("    w = tl_here(w)")
    p(f"    let a{u} = loadWeights(kind, w)")
    p(f"    let b{u} = linearVectors > 1 ? loadWeights(kind, w + vector) : a{u}")
    for r in range(ROWS):
        p(f"    if rows > {r} {{ multiply{r % 3}(kind, x{r // 3 * 3}, stride, &c{r}a, &c{r}b, a{u}, b{u}) }}")
    for g in range(0, ROWS, 3):
        p(f"    x{g} += 4")
    p("    w += linearVectors &* vector")
p(f"    left &-= {UNROLL}")
p("  }")
for r in range(ROWS):
    p(f"  if rows > {r} {{")
    p(f"    ts_store_f32(y + {r} &* yStride, c{r}a)")
    p(f"    if linearVectors > 1 {{ ts_store_f32(y + ({r} &* yStride &+ lanes &* 4), c{r}b) }}")
    p("  }")
p('''}

#if ISA_V4X
@inline(__always) var i8VectorBytes: Int { 64 }
#else
@inline(__always) var i8VectorBytes: Int { lanes &* 2 }
#endif

@inline(__always) func loadWeights(_ kind: Int, _ w: UnsafeRawPointer) -> F { kind == 2 ? tl_load_i8(w) : ts_load_f32(w) }

@inline(__always) func multiply(_ kind: Int, _ x: UnsafeRawPointer, _ ca: inout F, _ cb: inout F, _ a: F, _ b: F) {
  let word = x.loadUnaligned(as: UInt32.self)
  if kind == 0 {
    ca = tl_mac_f32(ca, word, a)
    if linearVectors > 1 { cb = tl_mac_f32(cb, word, b) }
  } else if kind == 1 {
    ca = tl_mac_bf16(ca, word, a)
    if linearVectors > 1 { cb = tl_mac_bf16(cb, word, b) }
  } else {
    ca = tl_mac_i8(ca, word, a)
    if linearVectors > 1 { cb = tl_mac_i8(cb, word, b) }
  }
}
''')
for r in range(3):
    address = "x" + ["", " + stride", " + 2 &* stride"][r]
    p(f"""@inline(__always) func multiply{r}(
  _ kind: Int, _ x: UnsafeRawPointer, _ stride: Int, _ ca: inout F, _ cb: inout F, _ a: F, _ b: F
) {{
  #if ISA_V4 || ISA_V4X
  if kind == 0 {{
    ca = tl_f32_row_{r}(ca, x, stride, a)
    cb = tl_f32_row_{r}(cb, x, stride, b)
    return
  }}
  #endif
  #if ISA_V4X
  if kind == 1 {{
    ca = tl_bf16_row_{r}(ca, x, stride, a)
    cb = tl_bf16_row_{r}(cb, x, stride, b)
  }} else {{
    ca = tl_i8_row_{r}(ca, x, stride, a)
    cb = tl_i8_row_{r}(cb, x, stride, b)
  }}
  #else
  multiply(kind, {address}, &ca, &cb, a, b)
  #endif
}}""")

with open("LinearTile.swift", "w") as f:
    f.write("\n".join(out) + "\n")
