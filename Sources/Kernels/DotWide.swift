// Dot products of bf16 rows by vdpbf16ps and of i8 rows by vpdpbusd (see Dot.swift). bf16: queries rounded to bf16. i8: queries
// in two terms, high + low / 256, so that what the query loses is below what the rows' own rounding lost (docs/precision.md,
// "decode").
import CShims

#if ISA_V4X
typealias W = SIMD16<Int32>

@inline(never) func dotGroupPairs(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ z: Floats, _ zs: Int) {
  dotGroup(2, true, r.pointee, n, q, 128, 1, 2, 3, z, zs)
}
@inline(never) func dotGroupPairs(
  _ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotGroup(2, true, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotBF16Pairs(_ r: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = UnsafeRawPointer(w.bf16.unsafelyUnwrapped)
  var g = 0
  while g < Int(w.count) {
    let last = Int(w.count) &- 1 &- g
    if d == 128 && last >= 3 {
      dotGroupPairs(r, n, q + g &* d &* 2, z + g &* zs, zs)
    } else {
      dotGroupPairs(
        r, n, q + g &* d &* 2, d, last < 1 ? last : 1, last < 2 ? last : 2, last < 3 ? last : 3, z + g &* zs, zs)
    }
    g &+= 4
  }
}

@inline(never) func dotPanel(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ z: Floats, _ zs: Int) {
  dotPanel(r.pointee, n, q, 128, 4, z, zs)
}
@inline(never) func dotPanel(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ live: Int, _ z: Floats, _ zs: Int) {
  dotPanel(r.pointee, n, q, d, live, z, zs)
}
@inline(never) func dotI8Panels(_ rows: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let r = rows.pointee
  let w = queries.pointee
  let d = Int(w.dim)
  let panels = UnsafeRawPointer(w.i8_panels.unsafelyUnwrapped)
  var g = 0
  while g < Int(w.count) {
    let panel = panels + (g &>> 2) &* panelBytes(d)
    let live = Int(w.count) &- g
    if d == 128 && live >= 4 {
      dotPanel(rows, n, panel, z + g &* zs, zs)
    } else {
      dotPanel(rows, n, panel, d, live, z + g &* zs, zs)
    }
    g &+= 4
  }
  g = 0
  while g < Int(w.count) {
    scaleSums(r, n, flippedOffset(w, g), w.i8_scale.unsafelyUnwrapped[g] * (1.0 / 256), z + g &* zs)
    g &+= 1
  }
}

/// Bytes of both terms of four queries: per 64 dims four steps of 16 dims, each 64 bytes of high terms and 64 of low ones.
@inline(__always) func panelBytes(_ d: Int) -> Int { (d &+ 63) / 64 &* 512 }

/// Queries to panels: in a step a quarter of the lanes is a query's.
@inline(never) func packPanels(_ w: tk_queries) {
  let d = Int(w.dim)
  let groups = (Int(w.count) &+ 3) / 4
  let panels = UnsafeMutableRawPointer(w.i8_panels.unsafelyUnwrapped)
  var g = 0
  while g < groups &* 4 {
    var home = panels + (g / 4 &* panelBytes(d) &+ g % 4 &* 16)
    let end = home + panelBytes(d)
    var i = 0
    while home < end {
      let live = g < Int(w.count) ? (d &- i < 16 ? d &- i : 16) : 0
      packPanelQuarter(home, w.i8_high.unsafelyUnwrapped + (g &* d &+ i), live)
      packPanelQuarter(home + 64, w.i8_low.unsafelyUnwrapped + (g &* d &+ i), live)
      home += 128
      i &+= 16
    }
    g &+= 1
  }
}

@inline(__always) func packPanelQuarter(_ to: UnsafeMutableRawPointer, _ from: UnsafePointer<Int8>, _ live: Int) {
  if live == 16 {
    to.storeBytes(of: UnsafeRawPointer(from).loadUnaligned(as: SIMD16<Int8>.self), as: SIMD16<Int8>.self)
    return
  }
  var j = 0
  while j < 16 {
    to.storeBytes(of: j < live ? from[j] : 0, toByteOffset: j, as: Int8.self)
    j &+= 1
  }
}

/// Rows against a panel. 16 bytes of a row meet all four queries in one instruction, so a row's sums lie in one vector, a
/// quarter a query, and what is left to add across lanes is a third of what four vectors would need.
@inline(__always) func dotPanel(
  _ r: tk_rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ live: Int, _ z: Floats, _ zs: Int
) {
  let step = r.stride
  var t = 0
  while t < n {
    var k0 = r.base.unsafelyUnwrapped, k1 = k0, k2 = k0, k3 = k0
    let whole = t &+ 4 <= n
    if whole && r.rows == nil {
      k0 += t &* step
      k1 = k0 + step
      k2 = k1 + step
      k3 = k2 + step
    } else {
      // Rows beyond the last repeat it.
      let last = n &- 1
      k0 += rowNumber(r, t) &* step
      k1 += rowNumber(r, t &+ 1 < last ? t &+ 1 : last) &* step
      k2 += rowNumber(r, t &+ 2 < last ? t &+ 2 : last) &* step
      k3 += rowNumber(r, t &+ 3 < last ? t &+ 3 : last) &* step
    }
    let s = dotPanelQuad(k0, k1, k2, k3, q, d, aheadQuad(3, r, t, (k0, k1, k2, k3)))
    var g = 0
    while g < 4 && g < live {
      let x = g == 0 ? ts_quarter(s, 0) : g == 1 ? ts_quarter(s, 1) : g == 2 ? ts_quarter(s, 2) : ts_quarter(s, 3)
      let home = z + (g &* zs &+ t)
      if whole {
        ts_store_f4(home, x)
      } else {
        home[0] = x[0]
        if t &+ 1 < n { home[1] = x[1] }
        if t &+ 2 < n { home[2] = x[2] }
      }
      g &+= 1
    }
    t &+= 4
  }
}

/// 256 times the high terms' products plus the low terms', integers in the lanes' bits. |result| < 2^31 for 256 dims once the
/// offset is off again; until then it may wrap, which is harmless.
@inline(__always) func dotPanelQuad(
  _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer, _ panel: UnsafeRawPointer,
  _ d: Int, _ next: Quad
) -> F {
  var h0 = ts_splat_word(0)
  var h1 = h0, h2 = h0, h3 = h0, l0 = h0, l1 = h0, l2 = h0, l3 = h0
  var q = ts_opaque(panel)
  var i = 0
  while i < d {
    ts_prefetch(next.0 + i)
    ts_prefetch(next.1 + i)
    let rest = Int32(truncatingIfNeeded: d &- i)
    let v0 = ts_flip_signs(rest >= 64 ? ts_load64(k0 + i) : ts_load64_part(k0 + i, rest))
    let v1 = ts_flip_signs(rest >= 64 ? ts_load64(k1 + i) : ts_load64_part(k1 + i, rest))
    let v2 = ts_flip_signs(rest >= 64 ? ts_load64(k2 + i) : ts_load64_part(k2 + i, rest))
    let v3 = ts_flip_signs(rest >= 64 ? ts_load64(k3 + i) : ts_load64_part(k3 + i, rest))
    panelStep(0, &h0, &h1, &h2, &h3, &l0, &l1, &l2, &l3, v0, v1, v2, v3, q)
    panelStep(1, &h0, &h1, &h2, &h3, &l0, &l1, &l2, &l3, v0, v1, v2, v3, q)
    ts_prefetch(next.2 + i)
    ts_prefetch(next.3 + i)
    panelStep(2, &h0, &h1, &h2, &h3, &l0, &l1, &l2, &l3, v0, v1, v2, v3, q)
    panelStep(3, &h0, &h1, &h2, &h3, &l0, &l1, &l2, &l3, v0, v1, v2, v3, q)
    q += 512
    i &+= 64
  }
  return ts_as_floats(
    ts_sum_folded_words(ts_times_256(h0) &+ l0, ts_times_256(h1) &+ l1, ts_times_256(h2) &+ l2, ts_times_256(h3) &+ l3))
}

@inline(__always) func panelStep(
  _ j: Int32, _ h0: inout W, _ h1: inout W, _ h2: inout W, _ h3: inout W, _ l0: inout W, _ l1: inout W, _ l2: inout W,
  _ l3: inout W, _ v0: W, _ v1: W, _ v2: W, _ v3: W, _ q: UnsafeRawPointer
) {
  let high = ts_load64(q + Int(j) &* 128)
  let low = ts_load64(q + (Int(j) &* 128 &+ 64))
  let x0 = ts_quarter_splat(v0, j)
  h0 = ts_dot_u8(h0, x0, high)
  l0 = ts_dot_u8(l0, x0, low)
  let x1 = ts_quarter_splat(v1, j)
  h1 = ts_dot_u8(h1, x1, high)
  l1 = ts_dot_u8(l1, x1, low)
  let x2 = ts_quarter_splat(v2, j)
  h2 = ts_dot_u8(h2, x2, high)
  l2 = ts_dot_u8(l2, x2, low)
  let x3 = ts_quarter_splat(v3, j)
  h3 = ts_dot_u8(h3, x3, high)
  l3 = ts_dot_u8(l3, x3, low)
}

/// Integer sums in the bits of z -> logits: (sum - 128 sum(q)) times the scales of query and row, as u8 x s8 products of
/// flipped keys are off by 128 sum(q).
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
#endif
