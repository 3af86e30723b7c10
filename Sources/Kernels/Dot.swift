// Dot products of a few query vectors with many rows: each row is loaded once for up to four queries, and the sums of four rows are
// reduced together in the same order as a single sum.
import CShims

@inline(__always) func dotRows(_ kind: Int, _ rows: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  #if ISA_V4 || ISA_V4X
  let w = queries.pointee
  if w.count > 2 {
    let r = rows.pointee
    let d = Int(w.dim)
    let q = UnsafeRawPointer(w.f32.unsafelyUnwrapped)
    // The common shape in literals: its loops unroll and its addresses are constants.
    if d == 128 && w.count == 4 {
      dotGroup(kind, false, r, n, q, 0, 128, 1, 2, 3, z, zs)
    } else {
      var g = 0
      while g < Int(w.count) {
        // A group that is not full repeats its last query: the sums are the same, the writes too.
        let last = Int(w.count) &- 1 &- g
        dotGroup(
          kind, false, r, n, q + g &* d &* 4, 0, d, last < 1 ? last : 1, last < 2 ? last : 2, last < 3 ? last : 3, z + g &* zs, zs)
        g &+= 4
      }
    }
    if kind == 3 { scaleLogits(r, n, Int(w.count), z, zs) }
    return
  }
  #endif
  dotFew(kind, rows, n, queries, z, zs)
}

#if ISA_V4 || ISA_V4X
@inline(__always) func scaleLogits(_ r: tk_rows, _ n: Int, _ count: Int, _ z: Floats, _ zs: Int) {
  var t = 0
  while t < n {
    let s = rowScale(r, t)
    var g = 0
    while g < count {
      z[g &* zs &+ t] *= s
      g &+= 1
    }
    t &+= 1
  }
}
#endif

@inline(__always) func dotFew(_ kind: Int, _ rows: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let r = rows.pointee
  let d = Int(queries.pointee.dim)
  let count = Int(queries.pointee.count)
  let q = UnsafeRawPointer(queries.pointee.f32.unsafelyUnwrapped)
  var t = 0
  while t &+ 4 <= n {
    let k0 = rowAddress(kind, r, t)
    let k1 = rowAddress(kind, r, t &+ 1)
    let k2 = rowAddress(kind, r, t &+ 2)
    let k3 = rowAddress(kind, r, t &+ 3)
    prefetchAhead(kind, r, t, d)
    var g = 0
    while g &+ 2 <= count {
      dot4x2(kind, k0, k1, k2, k3, q + g &* d &* 4, d, z + (g &* zs &+ t), zs)
      g &+= 2
    }
    if g < count { dot4x1(kind, k0, k1, k2, k3, q + g &* d &* 4, d, z + (g &* zs &+ t)) }
    if kind == 3 {
      let s0 = rowScale(r, t)
      let s1 = rowScale(r, t &+ 1)
      let s2 = rowScale(r, t &+ 2)
      let s3 = rowScale(r, t &+ 3)
      g = 0
      while g < count {
        let zg = z + (g &* zs &+ t)
        zg[0] *= s0
        zg[1] *= s1
        zg[2] *= s2
        zg[3] *= s3
        g &+= 1
      }
    }
    t &+= 4
  }
  while t < n {
    let k = rowAddress(kind, r, t)
    let s = kind == 3 ? rowScale(r, t) : 1
    var g = 0
    while g < count {
      let x = dot1x1(kind, k, q + g &* d &* 4, d)
      z[g &* zs &+ t] = kind == 3 ? x * s : x
      g &+= 1
    }
    t &+= 1
  }
}

/// Brings near what follows four rows that are about to be worked on.
@inline(__always) func prefetchAhead(_ kind: Int, _ r: tk_rows, _ t: Int, _ d: Int) {
  if r.ahead == nil { return }
  let bytes = d &* elementSize(kind)
  var j = 0
  while j < 4 {
    let next = aheadRow(kind, r, t &+ j)
    var i = 0
    while i < bytes {
      ts_prefetch(next + i)
      i &+= 64
    }
    j &+= 1
  }
}

@inline(__always) func dot1x1(_ kind: Int, _ k: UnsafeRawPointer, _ q: UnsafeRawPointer, _ d: Int) -> Float {
  var a = ts_splat(0)
  var i = 0
  while i &+ lanes <= d {
    a = ts_fma(a, load(kind, k, i), load(0, q, i))
    i &+= lanes
  }
  if i < d { a = ts_fma(a, loadHalf(kind, k, i), loadHalf(0, q, i)) }
  return ts_sum(a)
}

@inline(__always) func dot4x1(
  _ kind: Int, _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer,
  _ q: UnsafeRawPointer, _ d: Int, _ z: Floats
) {
  var a0 = ts_splat(0)
  var a1 = a0
  var a2 = a0
  var a3 = a0
  var i = 0
  while i &+ lanes <= d {
    let x = load(0, q, i)
    a0 = ts_fma(a0, load(kind, k0, i), x)
    a1 = ts_fma(a1, load(kind, k1, i), x)
    a2 = ts_fma(a2, load(kind, k2, i), x)
    a3 = ts_fma(a3, load(kind, k3, i), x)
    i &+= lanes
  }
  if i < d {
    let x = loadHalf(0, q, i)
    a0 = ts_fma(a0, loadHalf(kind, k0, i), x)
    a1 = ts_fma(a1, loadHalf(kind, k1, i), x)
    a2 = ts_fma(a2, loadHalf(kind, k2, i), x)
    a3 = ts_fma(a3, loadHalf(kind, k3, i), x)
  }
  ts_store_f4(z, ts_sum4(a0, a1, a2, a3))
}

@inline(__always) func dot4x2(
  _ kind: Int, _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer,
  _ q: UnsafeRawPointer, _ d: Int, _ z: Floats, _ zs: Int
) {
  let p = q + d &* 4
  var a0 = ts_splat(0)
  var a1 = a0
  var a2 = a0
  var a3 = a0
  var b0 = a0
  var b1 = a0
  var b2 = a0
  var b3 = a0
  var i = 0
  while i &+ lanes <= d {
    let x = load(0, q, i)
    let y = load(0, p, i)
    let v0 = load(kind, k0, i)
    a0 = ts_fma(a0, v0, x)
    b0 = ts_fma(b0, v0, y)
    let v1 = load(kind, k1, i)
    a1 = ts_fma(a1, v1, x)
    b1 = ts_fma(b1, v1, y)
    let v2 = load(kind, k2, i)
    a2 = ts_fma(a2, v2, x)
    b2 = ts_fma(b2, v2, y)
    let v3 = load(kind, k3, i)
    a3 = ts_fma(a3, v3, x)
    b3 = ts_fma(b3, v3, y)
    i &+= lanes
  }
  if i < d {
    let x = loadHalf(0, q, i)
    let y = loadHalf(0, p, i)
    let v0 = loadHalf(kind, k0, i)
    a0 = ts_fma(a0, v0, x)
    b0 = ts_fma(b0, v0, y)
    let v1 = loadHalf(kind, k1, i)
    a1 = ts_fma(a1, v1, x)
    b1 = ts_fma(b1, v1, y)
    let v2 = loadHalf(kind, k2, i)
    a2 = ts_fma(a2, v2, x)
    b2 = ts_fma(b2, v2, y)
    let v3 = loadHalf(kind, k3, i)
    a3 = ts_fma(a3, v3, x)
    b3 = ts_fma(b3, v3, y)
  }
  ts_store_f4(z, ts_sum4(a0, a1, a2, a3))
  ts_store_f4(z + zs, ts_sum4(b0, b1, b2, b3))
}

#if ISA_V4 || ISA_V4X
/// n rows against four queries (0, j1, j2, j3 of those at q), one row at a time: memory is read in the order in which it
/// lies, which the hardware's prefetcher follows and rows abreast are not (docs/precision.md). Four rows' sums are reduced together.
@inline(__always) func dotGroup(
  _ kind: Int, _ wide: Bool, _ r: tk_rows, _ n: Int, _ q: UnsafeRawPointer, _ low: Int, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int,
  _ z: Floats, _ zs: Int
) {
  let size = elementSize(kind)
  let step = r.stride &* size
  let z1 = z + j1 &* zs
  let z2 = z + j2 &* zs
  let z3 = z + j3 &* zs
  var t = 0
  while t &+ 4 <= n {
    var k0 = r.base.unsafelyUnwrapped, k1 = k0, k2 = k0, k3 = k0
    if let rows = r.rows {
      k0 += Int(rows[t]) &* step
      k1 += Int(rows[t &+ 1]) &* step
      k2 += Int(rows[t &+ 2]) &* step
      k3 += Int(rows[t &+ 3]) &* step
    } else {
      k0 += t &* step
      k1 = k0 + step
      k2 = k1 + step
      k3 = k2 + step
    }
    let next = aheadQuad(kind, r, t, (k0, k1, k2, k3))
    let s: F
    #if ISA_V4X
    if wide && kind == 3 {
      s = dotQuads(k0, k1, k2, k3, q, low, d, j1, j2, j3, next)
    } else {
      s = dotFour(kind, wide, k0, k1, k2, k3, q, d, j1, j2, j3, next)
    }
    #else
    s = dotFour(kind, wide, k0, k1, k2, k3, q, d, j1, j2, j3, next)
    #endif
    ts_store_f4(z + t, ts_quarter(s, 0))
    ts_store_f4(z1 + t, ts_quarter(s, 1))
    ts_store_f4(z2 + t, ts_quarter(s, 2))
    ts_store_f4(z3 + t, ts_quarter(s, 3))
    t &+= 4
  }
  while t < n {
    let k = rowAddress(kind, r, t)
    let s: F
    #if ISA_V4X
    if wide && kind == 3 {
      s = dotQuads(k, k, k, k, q, low, d, j1, j2, j3, (k, k, k, k))
    } else {
      let x = dotRow(kind, wide, k, q, d, j1, j2, j3, k)
      s = ts_sum_folded(x, x, x, x)
    }
    #else
    let x = dotRow(kind, wide, k, q, d, j1, j2, j3, k)
    s = ts_sum_folded(x, x, x, x)
    #endif
    z[t] = ts_quarter(s, 0)[0]
    z1[t] = ts_quarter(s, 1)[0]
    z2[t] = ts_quarter(s, 2)[0]
    z3[t] = ts_quarter(s, 3)[0]
    t &+= 1
  }
}

typealias Quad = (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)

/// Where what follows rows t ..< t + 4 lies (k, those rows themselves, if nothing does); rows beyond the last are prefetched in vain, which does no harm.
@inline(__always) func aheadQuad(_ kind: Int, _ r: tk_rows, _ t: Int, _ k: Quad) -> Quad {
  guard let ahead = r.ahead else { return k }
  let last = r.ahead_count &- 1
  let step = ahead.pointee.stride &* elementSize(kind)
  let base = ahead.pointee.base.unsafelyUnwrapped
  if let rows = ahead.pointee.rows {
    return (
      base + Int(rows[t < last ? t : last]) &* step, base + Int(rows[t &+ 1 < last ? t &+ 1 : last]) &* step,
      base + Int(rows[t &+ 2 < last ? t &+ 2 : last]) &* step, base + Int(rows[t &+ 3 < last ? t &+ 3 : last]) &* step
    )
  }
  let n0 = base + (t < last ? t : last) &* step
  return (n0, n0 + step, n0 + 2 &* step, n0 + 3 &* step)
}

@inline(__always) func dotFour(
  _ kind: Int, _ wide: Bool, _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer,
  _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int,
  _ next: Quad
) -> F {
  ts_sum_folded(
    dotRow(kind, wide, k0, q, d, j1, j2, j3, next.0), dotRow(kind, wide, k1, q, d, j1, j2, j3, next.1),
    dotRow(kind, wide, k2, q, d, j1, j2, j3, next.2), dotRow(kind, wide, k3, q, d, j1, j2, j3, next.3))
}

/// A row against four queries; the four sums folded (ts_fold_four). Columns come in steps of a vector, or of 32 bf16.
@inline(__always) func dotRow(
  _ kind: Int, _ wide: Bool, _ k: UnsafeRawPointer, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int,
  _ j3: Int, _ next: UnsafeRawPointer
) -> F {
  let size = wide ? 2 : 4
  let columns = wide ? 32 : lanes
  let q0 = ts_opaque(q)
  let q1 = q0 + j1 &* d &* size
  let q2 = q0 + j2 &* d &* size
  let q3 = q0 + j3 &* d &* size
  var a0 = ts_splat(0)
  var a1 = a0, a2 = a0, a3 = a0
  var i = 0
  while i &+ columns <= d {
    if i &* elementSize(kind) % 64 == 0 { ts_prefetch(next + i &* elementSize(kind)) }
    #if ISA_V4X
    if wide {
      let v = ts_load64(k + i &* 2)
      let x0 = ts_load64(q0 + i &* 2)
      a0 = ts_dot_bf16(a0, v, x0)
      let x1 = ts_load64(q1 + i &* 2)
      a1 = ts_dot_bf16(a1, v, x1)
      let x2 = ts_load64(q2 + i &* 2)
      a2 = ts_dot_bf16(a2, v, x2)
      let x3 = ts_load64(q3 + i &* 2)
      a3 = ts_dot_bf16(a3, v, x3)
      i &+= columns
      continue
    }
    #endif
    let v = load(kind, k, i)
    let x0 = load(0, q0, i)
    a0 = ts_fma(a0, v, x0)
    let x1 = load(0, q1, i)
    a1 = ts_fma(a1, v, x1)
    let x2 = load(0, q2, i)
    a2 = ts_fma(a2, v, x2)
    let x3 = load(0, q3, i)
    a3 = ts_fma(a3, v, x3)
    i &+= columns
  }
  if i < d {
    #if ISA_V4X
    if wide {
      let rest = Int32(truncatingIfNeeded: (d &- i) &* 2)
      let v = ts_load64_part(k + i &* 2, rest)
      let x0 = ts_load64_part(q0 + i &* 2, rest)
      let x1 = ts_load64_part(q1 + i &* 2, rest)
      let x2 = ts_load64_part(q2 + i &* 2, rest)
      let x3 = ts_load64_part(q3 + i &* 2, rest)
      return ts_fold_four(ts_dot_bf16(a0, v, x0), ts_dot_bf16(a1, v, x1), ts_dot_bf16(a2, v, x2), ts_dot_bf16(a3, v, x3))
    }
    #endif
    let v = loadHalf(kind, k, i)
    let x0 = loadHalf(0, q0, i)
    let x1 = loadHalf(0, q1, i)
    let x2 = loadHalf(0, q2, i)
    let x3 = loadHalf(0, q3, i)
    return ts_fold_four(ts_fma(a0, v, x0), ts_fma(a1, v, x1), ts_fma(a2, v, x2), ts_fma(a3, v, x3))
  }
  return ts_fold_four(a0, a1, a2, a3)
}
#endif

@inline(never) func dotF32(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(0, r, n, q, z, zs) }
@inline(never) func dotF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(1, r, n, q, z, zs) }
@inline(never) func dotBF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(2, r, n, q, z, zs) }
@inline(never) func dotI8(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(3, r, n, q, z, zs) }
