// Dot products of bf16 rows by vdpbf16ps and of i8 rows by vpdpbusd: 64 bytes of a row against four queries at a time, one row
// after the other (see Dot.swift). bf16: queries rounded to bf16. i8: queries in two terms, high + low / 256, so that what the
// query loses is below what the rows' own rounding lost (docs/precision.md, "decode").
import CShims

#if ISA_V4X
typealias W = SIMD16<Int32>

@inline(__always) func dotWide(_ kind: Int, _ rows: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let r = rows.pointee
  let w = queries.pointee
  let d = Int(w.dim)
  let q = kind == 2 ? UnsafeRawPointer(w.bf16.unsafelyUnwrapped) : UnsafeRawPointer(w.i8_high.unsafelyUnwrapped)
  let low = UnsafeRawPointer(w.i8_low.unsafelyUnwrapped) - UnsafeRawPointer(w.i8_high.unsafelyUnwrapped)
  // The common shape in literals: its loops unroll and its addresses are constants.
  if d == 128 && w.count == 4 {
    dotGroup(kind, true, r, n, q, low, 128, 1, 2, 3, z, zs)
  } else {
    var g = 0
    while g < Int(w.count) {
      // A group that is not full repeats its last query: the sums are the same, the writes too.
      let last = Int(w.count) &- 1 &- g
      dotGroup(
        kind, true, r, n, q + g &* d &* elementSize(kind), low, d, last < 1 ? last : 1, last < 2 ? last : 2, last < 3 ? last : 3,
        z + g &* zs, zs)
      g &+= 4
    }
  }
  if kind == 3 {
    var g = 0
    while g < Int(w.count) {
      scaleSums(r, n, flippedOffset(w, g), w.i8_scale.unsafelyUnwrapped[g] * (1.0 / 256), z + g &* zs)
      g &+= 1
    }
  }
}

/// Integer sums in the bits of z -> logits: (sum - 128 sum(q)) times the scales of query and row, as u8 x s8 products of flipped
/// keys are off by 128 sum(q).
@inline(__always) func scaleSums(_ r: tk_rows, _ n: Int, _ offset: Int32, _ scale: Float, _ z: Floats) {
  let off = ts_splat_word(offset)
  let qs = ts_splat(scale)
  var t = 0
  if let scales = r.scale, r.rows == nil && r.scale_stride == 1 {
    while t &+ 16 <= n {
      let x = ts_to_f32(ts_as_words(ts_load_f32(z + t)) &- off)
      ts_store_f32(z + t, x * qs * ts_load_f32(scales + t))
      t &+= 16
    }
  }
  while t < n {
    z[t] = Float(Int32(bitPattern: z[t].bitPattern) &- offset) * scale * rowScale(r, t)
    t &+= 1
  }
}

/// 128 times the sum of a query's elements, in units of 1/256 of its scale.
@inline(__always) func flippedOffset(_ w: tk_queries, _ g: Int) -> Int32 {
  (w.i8_high_sum.unsafelyUnwrapped[g] &* 256 &+ w.i8_low_sum.unsafelyUnwrapped[g]) &* 128
}

/// Four rows against four queries: 256 times the high terms' products plus the low terms', in one set of sums, integers in the
/// lanes' bits. |result| < 2^31 for 256 dims once the offset is off again; until then it may wrap, which is harmless.
@inline(__always) func dotQuads(
  _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer, _ q: UnsafeRawPointer, _ low: Int,
  _ bytes: Int, _ j1: Int, _ j2: Int, _ j3: Int,
  _ next: Quad
) -> F {
  var a00 = ts_splat_word(0)
  var a01 = a00, a02 = a00, a03 = a00
  var a10 = a00, a11 = a00, a12 = a00, a13 = a00
  var a20 = a00, a21 = a00, a22 = a00, a23 = a00
  var a30 = a00, a31 = a00, a32 = a00, a33 = a00
  var term = 0
  while term < 2 {
    let q0 = ts_opaque(term == 0 ? q : q + low)
    let q1 = q0 + j1 &* bytes
    let q2 = q0 + j2 &* bytes
    let q3 = q0 + j3 &* bytes
    var i = 0
    while i &+ 64 <= bytes {
      if term == 0 {
        ts_prefetch(next.0 + i)
        ts_prefetch(next.1 + i)
      } else {
        ts_prefetch(next.2 + i)
        ts_prefetch(next.3 + i)
      }
      let x0 = ts_load64(q0 + i)
      let x1 = ts_load64(q1 + i)
      let x2 = ts_load64(q2 + i)
      let x3 = ts_load64(q3 + i)
      let v0 = ts_flip_signs(ts_load64(k0 + i))
      a00 = ts_dot_u8(a00, v0, x0)
      a01 = ts_dot_u8(a01, v0, x1)
      a02 = ts_dot_u8(a02, v0, x2)
      a03 = ts_dot_u8(a03, v0, x3)
      let v1 = ts_flip_signs(ts_load64(k1 + i))
      a10 = ts_dot_u8(a10, v1, x0)
      a11 = ts_dot_u8(a11, v1, x1)
      a12 = ts_dot_u8(a12, v1, x2)
      a13 = ts_dot_u8(a13, v1, x3)
      let v2 = ts_flip_signs(ts_load64(k2 + i))
      a20 = ts_dot_u8(a20, v2, x0)
      a21 = ts_dot_u8(a21, v2, x1)
      a22 = ts_dot_u8(a22, v2, x2)
      a23 = ts_dot_u8(a23, v2, x3)
      let v3 = ts_flip_signs(ts_load64(k3 + i))
      a30 = ts_dot_u8(a30, v3, x0)
      a31 = ts_dot_u8(a31, v3, x1)
      a32 = ts_dot_u8(a32, v3, x2)
      a33 = ts_dot_u8(a33, v3, x3)
      i &+= 64
    }
    if i < bytes {
      let rest = Int32(truncatingIfNeeded: bytes &- i)
      let x0 = ts_load64_part(q0 + i, rest)
      let x1 = ts_load64_part(q1 + i, rest)
      let x2 = ts_load64_part(q2 + i, rest)
      let x3 = ts_load64_part(q3 + i, rest)
      let v0 = ts_flip_signs(ts_load64_part(k0 + i, rest))
      a00 = ts_dot_u8(a00, v0, x0)
      a01 = ts_dot_u8(a01, v0, x1)
      a02 = ts_dot_u8(a02, v0, x2)
      a03 = ts_dot_u8(a03, v0, x3)
      let v1 = ts_flip_signs(ts_load64_part(k1 + i, rest))
      a10 = ts_dot_u8(a10, v1, x0)
      a11 = ts_dot_u8(a11, v1, x1)
      a12 = ts_dot_u8(a12, v1, x2)
      a13 = ts_dot_u8(a13, v1, x3)
      let v2 = ts_flip_signs(ts_load64_part(k2 + i, rest))
      a20 = ts_dot_u8(a20, v2, x0)
      a21 = ts_dot_u8(a21, v2, x1)
      a22 = ts_dot_u8(a22, v2, x2)
      a23 = ts_dot_u8(a23, v2, x3)
      let v3 = ts_flip_signs(ts_load64_part(k3 + i, rest))
      a30 = ts_dot_u8(a30, v3, x0)
      a31 = ts_dot_u8(a31, v3, x1)
      a32 = ts_dot_u8(a32, v3, x2)
      a33 = ts_dot_u8(a33, v3, x3)
    }
    if term == 0 {
      a00 = ts_times_256(a00)
      a01 = ts_times_256(a01)
      a02 = ts_times_256(a02)
      a03 = ts_times_256(a03)
      a10 = ts_times_256(a10)
      a11 = ts_times_256(a11)
      a12 = ts_times_256(a12)
      a13 = ts_times_256(a13)
      a20 = ts_times_256(a20)
      a21 = ts_times_256(a21)
      a22 = ts_times_256(a22)
      a23 = ts_times_256(a23)
      a30 = ts_times_256(a30)
      a31 = ts_times_256(a31)
      a32 = ts_times_256(a32)
      a33 = ts_times_256(a33)
    }
    term &+= 1
  }
  return ts_as_floats(
    ts_sum_folded_words(
      ts_fold_four_words(a00, a01, a02, a03), ts_fold_four_words(a10, a11, a12, a13), ts_fold_four_words(a20, a21, a22, a23),
      ts_fold_four_words(a30, a31, a32, a33)))
}

@inline(never) func dotBF16Pairs(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotWide(2, r, n, q, z, zs) }
@inline(never) func dotI8Quads(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotWide(3, r, n, q, z, zs) }
#endif
