// Dot products of bf16 rows by vdpbf16ps and of i8 rows by vpdpbusd: queries rounded to the rows' dtype, 64 bytes of four rows
// against four queries at a time (docs/precision.md, "decode").
import CShims

#if ISA_V4X
typealias W = SIMD16<Int32>

/// a + products of 64 bytes of a row and of a query; i8 sums stay integers in the lanes' bits.
@inline(__always) func wideStep(_ kind: Int, _ a: F, _ k: W, _ q: W) -> F {
  if kind == 2 { return ts_dot_bf16(a, k, q) }
  return ts_as_floats(ts_dot_u8(ts_as_words(a), k, q))
}

@inline(__always) func wideLoad(_ kind: Int, _ p: UnsafeRawPointer, _ i: Int) -> W {
  kind == 2 ? ts_load64(p + i) : ts_flip_signs(ts_load64(p + i))
}

@inline(__always) func widePart(_ kind: Int, _ p: UnsafeRawPointer, _ i: Int, _ n: Int) -> W {
  let x = ts_load64_part(p + i, Int32(truncatingIfNeeded: n))
  return kind == 2 ? x : ts_flip_signs(x)
}

@inline(__always) func wideSum(_ kind: Int, _ a: F) -> F { kind == 2 ? a : ts_to_f32(ts_as_words(a)) }

@inline(__always) func dotWide(_ kind: Int, _ rows: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let r = rows.pointee
  let w = queries.pointee
  let bytes = Int(w.dim) &* elementSize(kind)
  let q = kind == 2 ? UnsafeRawPointer(w.bf16.unsafelyUnwrapped) : UnsafeRawPointer(w.i8_high.unsafelyUnwrapped)
  let count = Int(w.count)
  var t = 0
  while t < n {
    // The last block repeats rows rather than leave a remainder: the sums are the same, the writes too.
    let full = t &+ 4 <= n
    let k0 = rowAddress(kind, r, t)
    let k1 = full ? rowAddress(kind, r, t &+ 1) : t &+ 1 < n ? rowAddress(kind, r, t &+ 1) : k0
    let k2 = full ? rowAddress(kind, r, t &+ 2) : t &+ 2 < n ? rowAddress(kind, r, t &+ 2) : k0
    let k3 = full ? rowAddress(kind, r, t &+ 3) : k0
    if full { prefetchAhead(kind, r, t, Int(w.dim)) }
    var g = 0
    while g < count {
      let last = count &- 1
      let q0 = q + g &* bytes
      let q1 = q + (g &+ 1 < last ? g &+ 1 : last) &* bytes
      let q2 = q + (g &+ 2 < last ? g &+ 2 : last) &* bytes
      let q3 = q + (g &+ 3 < last ? g &+ 3 : last) &* bytes
      var s = wide4x4(kind, k0, k1, k2, k3, q0, q1, q2, q3, bytes)
      if kind == 3 { s = wideScaled(r, w, t, n, g, last, s) }
      var j = 0
      while j < 4 && g &+ j < count {
        let quarter = j == 0 ? ts_quarter(s, 0) : j == 1 ? ts_quarter(s, 1) : j == 2 ? ts_quarter(s, 2) : ts_quarter(s, 3)
        let home = z + ((g &+ j) &* zs &+ t)
        if full {
          ts_store_f4(home, quarter)
        } else {
          home[0] = quarter[0]
          if t &+ 1 < n { home[1] = quarter[1] }
          if t &+ 2 < n { home[2] = quarter[2] }
        }
        j &+= 1
      }
      g &+= 4
    }
    t &+= 4
  }
}

/// (sums - 128 sum(q)) times the scales of query and row: what u8 x s8 products of flipped keys are off by.
@inline(__always) func wideScaled(_ r: tk_rows, _ w: tk_queries, _ t: Int, _ n: Int, _ g: Int, _ last: Int, _ s: F) -> F {
  let g1 = g &+ 1 < last ? g &+ 1 : last
  let g2 = g &+ 2 < last ? g &+ 2 : last
  let g3 = g &+ 3 < last ? g &+ 3 : last
  let sums = w.i8_high_sum.unsafelyUnwrapped
  let scales = w.i8_scale.unsafelyUnwrapped
  let offset = ts_quads(
    Float(sums[g]) * 128, Float(sums[g1]) * 128, Float(sums[g2]) * 128, Float(sums[g3]) * 128)
  let qs = ts_quads(scales[g], scales[g1], scales[g2], scales[g3])
  let a = rowScale(r, t)
  let b = t &+ 1 < n ? rowScale(r, t &+ 1) : 0
  let c = t &+ 2 < n ? rowScale(r, t &+ 2) : 0
  let d = t &+ 3 < n ? rowScale(r, t &+ 3) : 0
  return (s - offset) * qs * ts_repeat4(a, b, c, d)
}

/// Lane 4 g + r: row r against query g.
@inline(__always) func wide4x4(
  _ kind: Int, _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer,
  _ q0: UnsafeRawPointer, _ q1: UnsafeRawPointer, _ q2: UnsafeRawPointer, _ q3: UnsafeRawPointer, _ bytes: Int
) -> F {
  var a00 = ts_splat(0)
  var a01 = a00, a02 = a00, a03 = a00
  var a10 = a00, a11 = a00, a12 = a00, a13 = a00
  var a20 = a00, a21 = a00, a22 = a00, a23 = a00
  var a30 = a00, a31 = a00, a32 = a00, a33 = a00
  var i = 0
  while i &+ 64 <= bytes {
    let x0 = ts_load64(q0 + i)
    let x1 = ts_load64(q1 + i)
    let x2 = ts_load64(q2 + i)
    let x3 = ts_load64(q3 + i)
    let v0 = wideLoad(kind, k0, i)
    a00 = wideStep(kind, a00, v0, x0)
    a01 = wideStep(kind, a01, v0, x1)
    a02 = wideStep(kind, a02, v0, x2)
    a03 = wideStep(kind, a03, v0, x3)
    let v1 = wideLoad(kind, k1, i)
    a10 = wideStep(kind, a10, v1, x0)
    a11 = wideStep(kind, a11, v1, x1)
    a12 = wideStep(kind, a12, v1, x2)
    a13 = wideStep(kind, a13, v1, x3)
    let v2 = wideLoad(kind, k2, i)
    a20 = wideStep(kind, a20, v2, x0)
    a21 = wideStep(kind, a21, v2, x1)
    a22 = wideStep(kind, a22, v2, x2)
    a23 = wideStep(kind, a23, v2, x3)
    let v3 = wideLoad(kind, k3, i)
    a30 = wideStep(kind, a30, v3, x0)
    a31 = wideStep(kind, a31, v3, x1)
    a32 = wideStep(kind, a32, v3, x2)
    a33 = wideStep(kind, a33, v3, x3)
    i &+= 64
  }
  if i < bytes {
    let rest = Int32(truncatingIfNeeded: bytes &- i)
    let x0 = ts_load64_part(q0 + i, rest)
    let x1 = ts_load64_part(q1 + i, rest)
    let x2 = ts_load64_part(q2 + i, rest)
    let x3 = ts_load64_part(q3 + i, rest)
    let v0 = widePart(kind, k0, i, bytes &- i)
    a00 = wideStep(kind, a00, v0, x0)
    a01 = wideStep(kind, a01, v0, x1)
    a02 = wideStep(kind, a02, v0, x2)
    a03 = wideStep(kind, a03, v0, x3)
    let v1 = widePart(kind, k1, i, bytes &- i)
    a10 = wideStep(kind, a10, v1, x0)
    a11 = wideStep(kind, a11, v1, x1)
    a12 = wideStep(kind, a12, v1, x2)
    a13 = wideStep(kind, a13, v1, x3)
    let v2 = widePart(kind, k2, i, bytes &- i)
    a20 = wideStep(kind, a20, v2, x0)
    a21 = wideStep(kind, a21, v2, x1)
    a22 = wideStep(kind, a22, v2, x2)
    a23 = wideStep(kind, a23, v2, x3)
    let v3 = widePart(kind, k3, i, bytes &- i)
    a30 = wideStep(kind, a30, v3, x0)
    a31 = wideStep(kind, a31, v3, x1)
    a32 = wideStep(kind, a32, v3, x2)
    a33 = wideStep(kind, a33, v3, x3)
  }
  return ts_sum16(
    wideSum(kind, a00), wideSum(kind, a01), wideSum(kind, a02), wideSum(kind, a03),
    wideSum(kind, a10), wideSum(kind, a11), wideSum(kind, a12), wideSum(kind, a13),
    wideSum(kind, a20), wideSum(kind, a21), wideSum(kind, a22), wideSum(kind, a23),
    wideSum(kind, a30), wideSum(kind, a31), wideSum(kind, a32), wideSum(kind, a33))
}

@inline(never) func dotBF16Pairs(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotWide(2, r, n, q, z, zs) }
@inline(never) func dotI8Quads(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotWide(3, r, n, q, z, zs) }
#endif
