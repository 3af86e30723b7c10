// Dot products of rows with four queries at a time, at the levels whose vectors have 16 lanes.
import CShims

#if ISA_V4 || ISA_V4X
/// n rows against four queries (0, j1, j2, j3 of those at q), two rows at a time: memory is read nearly in the order in which
/// it lies, which the hardware's prefetcher follows, as it does not four rows abreast (docs/precision.md). Four rows' sums are
/// reduced together.
@inline(__always) func dotGroup(
  _ kind: Int, _ wide: Bool, _ r: tk_rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int,
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
    let s = dotFour(kind, wide, k0, k1, k2, k3, q, d, j1, j2, j3, next)
    ts_store_f4(z + t, ts_quarter(s, 0))
    ts_store_f4(z1 + t, ts_quarter(s, 1))
    ts_store_f4(z2 + t, ts_quarter(s, 2))
    ts_store_f4(z3 + t, ts_quarter(s, 3))
    t &+= 4
  }
  while t < n {
    let k = rowAddress(kind, r, t)
    let (x, y) = dotTwo(kind, wide, k, k, q, d, j1, j2, j3, k, k)
    let s = ts_sum_folded(x, y, x, y)
    z[t] = ts_quarter(s, 0)[0]
    z1[t] = ts_quarter(s, 1)[0]
    z2[t] = ts_quarter(s, 2)[0]
    z3[t] = ts_quarter(s, 3)[0]
    t &+= 1
  }
}

typealias Quad = (UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer, UnsafeRawPointer)

/// Where what follows rows t ..< t + 4 lies (k, those rows themselves, if nothing does); rows beyond the last are prefetched in
/// vain, which does no harm.
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
  let (x, y) = dotTwo(kind, wide, k0, k1, q, d, j1, j2, j3, next.0, next.1)
  let (v, w) = dotTwo(kind, wide, k2, k3, q, d, j1, j2, j3, next.2, next.3)
  return ts_sum_folded(x, y, v, w)
}

/// Two rows against four queries; for each row the four sums folded (ts_fold_four). Columns come in steps of a vector, or of 32
/// bf16. With one row at a time the loads of the queries would be the limit.
@inline(__always) func dotTwo(
  _ kind: Int, _ wide: Bool, _ k: UnsafeRawPointer, _ h: UnsafeRawPointer, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int,
  _ j2: Int, _ j3: Int, _ next: UnsafeRawPointer, _ after: UnsafeRawPointer
) -> (F, F) {
  let size = wide ? 2 : 4
  let columns = wide ? 32 : lanes
  let q0 = ts_opaque(q)
  let q1 = q0 + j1 &* d &* size
  let q2 = q0 + j2 &* d &* size
  let q3 = q0 + j3 &* d &* size
  var a0 = ts_splat(0)
  var a1 = a0, a2 = a0, a3 = a0
  var b0 = a0, b1 = a0, b2 = a0, b3 = a0
  var i = 0
  while i &+ columns <= d {
    if i &* elementSize(kind) % 64 == 0 {
      ts_prefetch(next + i &* elementSize(kind))
      ts_prefetch(after + i &* elementSize(kind))
    }
    #if ISA_V4X
    if wide {
      let v = ts_load64(k + i &* 2)
      let w = ts_load64(h + i &* 2)
      let x0 = ts_load64(q0 + i &* 2)
      a0 = ts_dot_bf16(a0, v, x0)
      b0 = ts_dot_bf16(b0, w, x0)
      let x1 = ts_load64(q1 + i &* 2)
      a1 = ts_dot_bf16(a1, v, x1)
      b1 = ts_dot_bf16(b1, w, x1)
      let x2 = ts_load64(q2 + i &* 2)
      a2 = ts_dot_bf16(a2, v, x2)
      b2 = ts_dot_bf16(b2, w, x2)
      let x3 = ts_load64(q3 + i &* 2)
      a3 = ts_dot_bf16(a3, v, x3)
      b3 = ts_dot_bf16(b3, w, x3)
      i &+= columns
      continue
    }
    #endif
    let v = load(kind, k, i)
    let w = load(kind, h, i)
    let x0 = load(0, q0, i)
    a0 = ts_fma(a0, v, x0)
    b0 = ts_fma(b0, w, x0)
    let x1 = load(0, q1, i)
    a1 = ts_fma(a1, v, x1)
    b1 = ts_fma(b1, w, x1)
    let x2 = load(0, q2, i)
    a2 = ts_fma(a2, v, x2)
    b2 = ts_fma(b2, w, x2)
    let x3 = load(0, q3, i)
    a3 = ts_fma(a3, v, x3)
    b3 = ts_fma(b3, w, x3)
    i &+= columns
  }
  if i < d {
    #if ISA_V4X
    if wide {
      let rest = Int32(truncatingIfNeeded: (d &- i) &* 2)
      let v = ts_load64_part(k + i &* 2, rest)
      let w = ts_load64_part(h + i &* 2, rest)
      let x0 = ts_load64_part(q0 + i &* 2, rest)
      let x1 = ts_load64_part(q1 + i &* 2, rest)
      let x2 = ts_load64_part(q2 + i &* 2, rest)
      let x3 = ts_load64_part(q3 + i &* 2, rest)
      return (
        ts_fold_four(ts_dot_bf16(a0, v, x0), ts_dot_bf16(a1, v, x1), ts_dot_bf16(a2, v, x2), ts_dot_bf16(a3, v, x3)),
        ts_fold_four(ts_dot_bf16(b0, w, x0), ts_dot_bf16(b1, w, x1), ts_dot_bf16(b2, w, x2), ts_dot_bf16(b3, w, x3))
      )
    }
    #endif
    let v = loadHalf(kind, k, i)
    let w = loadHalf(kind, h, i)
    let x0 = loadHalf(0, q0, i)
    let x1 = loadHalf(0, q1, i)
    let x2 = loadHalf(0, q2, i)
    let x3 = loadHalf(0, q3, i)
    return (
      ts_fold_four(ts_fma(a0, v, x0), ts_fma(a1, v, x1), ts_fma(a2, v, x2), ts_fma(a3, v, x3)),
      ts_fold_four(ts_fma(b0, w, x0), ts_fma(b1, w, x1), ts_fma(b2, w, x2), ts_fma(b3, w, x3))
    )
  }
  return (ts_fold_four(a0, a1, a2, a3), ts_fold_four(b0, b1, b2, b3))
}

/// A block against all queries, four at a time: `few` serves one or two, `full` four of 128 columns (its loops unroll and its
/// addresses are constants), `part` everything else.
@inline(__always) func inFours(
  _ r: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int,
  few: (Rows, Int, Queries, Floats, Int) -> Void, full: (Rows, Int, UnsafeRawPointer, Floats, Int) -> Void,
  part: (Rows, Int, UnsafeRawPointer, Int, Int, Int, Int, Floats, Int) -> Void
) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = UnsafeRawPointer(w.f32.unsafelyUnwrapped)
  if w.count <= 2 {
    few(r, n, queries, z, zs)
    return
  }
  var g = 0
  while g < Int(w.count) {
    let last = Int(w.count) &- 1 &- g
    let mine = q + g &* d &* 4
    if d == 128 && last >= 3 {
      full(r, n, mine, z + g &* zs, zs)
    } else {
      // A group that is not full repeats its last query: the sums are the same, the writes too.
      part(r, n, mine, d, last < 1 ? last : 1, last < 2 ? last : 2, last < 3 ? last : 3, z + g &* zs, zs)
    }
    g &+= 4
  }
}

@inline(never) func dotFullF32(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ z: Floats, _ zs: Int) {
  dotGroup(0, false, r.pointee, n, q, 128, 1, 2, 3, z, zs)
}
@inline(never) func dotPartF32(
  _ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotGroup(0, false, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotF32(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewF32, full: dotFullF32, part: dotPartF32)
}

@inline(never) func dotFullF16(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ z: Floats, _ zs: Int) {
  dotGroup(1, false, r.pointee, n, q, 128, 1, 2, 3, z, zs)
}
@inline(never) func dotPartF16(
  _ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotGroup(1, false, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewF16, full: dotFullF16, part: dotPartF16)
}

#if ISA_V4
@inline(never) func dotFullBF16(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ z: Floats, _ zs: Int) {
  dotGroup(2, false, r.pointee, n, q, 128, 1, 2, 3, z, zs)
}
@inline(never) func dotPartBF16(
  _ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotGroup(2, false, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotBF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewBF16, full: dotFullBF16, part: dotPartBF16)
}

@inline(never) func dotFullI8(_ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ z: Floats, _ zs: Int) {
  dotGroup(3, false, r.pointee, n, q, 128, 1, 2, 3, z, zs)
}
@inline(never) func dotPartI8(
  _ r: Rows, _ n: Int, _ q: UnsafeRawPointer, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotGroup(3, false, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotI8(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewI8, full: dotFullI8, part: dotPartI8)
  if q.pointee.count > 2 { scaleLogits(r.pointee, n, Int(q.pointee.count), z, zs) }
}

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
#elseif !ISA_V3
@inline(never) func dotF32(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFewF32(r, n, q, z, zs) }
@inline(never) func dotF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFewF16(r, n, q, z, zs) }
@inline(never) func dotBF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFewBF16(r, n, q, z, zs) }
@inline(never) func dotI8(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFewI8(r, n, q, z, zs) }
#endif
