// Dot products of a few query vectors with many rows: each row is loaded once for up to four queries, four rows at a time, so
// that a block's sums are reduced together (ts_sum16, ts_sum4) in the same order as a single sum.
import CShims

@inline(__always) func dotRows(_ kind: Int, _ rows: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
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
    var g = 0
    #if ISA_V4 || ISA_V4X
    while g &+ 4 <= count {
      dot4x4(kind, k0, k1, k2, k3, r, t, q + g &* d &* 4, d, g == 0 && r.ahead != nil, z + (g &* zs &+ t), zs)
      g &+= 4
    }
    if count < 4 { prefetchAhead(kind, r, t, d) }
    #else
    prefetchAhead(kind, r, t, d)
    #endif
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
/// Four rows against four queries, one row after the other: memory is read in the order in which it lies, which the hardware's
/// prefetcher follows and four rows abreast would not (docs/decisions.md). The queries are operands in the first-level cache.
@inline(__always) func dot4x4(
  _ kind: Int, _ k0: UnsafeRawPointer, _ k1: UnsafeRawPointer, _ k2: UnsafeRawPointer, _ k3: UnsafeRawPointer,
  _ r: tk_rows, _ t: Int, _ q: UnsafeRawPointer, _ d: Int, _ ahead: Bool, _ z: Floats, _ zs: Int
) {
  let s = ts_sum_folded(
    dotRow4(kind, k0, q, d, ahead ? aheadRow(kind, r, t) : nil), dotRow4(kind, k1, q, d, ahead ? aheadRow(kind, r, t &+ 1) : nil),
    dotRow4(kind, k2, q, d, ahead ? aheadRow(kind, r, t &+ 2) : nil), dotRow4(kind, k3, q, d, ahead ? aheadRow(kind, r, t &+ 3) : nil))
  ts_store_f4(z, ts_quarter(s, 0))
  ts_store_f4(z + zs, ts_quarter(s, 1))
  ts_store_f4(z + 2 &* zs, ts_quarter(s, 2))
  ts_store_f4(z + 3 &* zs, ts_quarter(s, 3))
}

@inline(__always) func dotRow4(_ kind: Int, _ k: UnsafeRawPointer, _ q: UnsafeRawPointer, _ d: Int, _ next: UnsafeRawPointer?) -> F {
  let q0 = ts_opaque(q)
  let q1 = q0 + d &* 4
  let q2 = q1 + d &* 4
  let q3 = q2 + d &* 4
  var a0 = ts_splat(0)
  var a1 = a0, a2 = a0, a3 = a0
  var i = 0
  while i &+ lanes <= d {
    if let next { ts_prefetch(next + i &* elementSize(kind)) }
    let v = load(kind, k, i)
    a0 = ts_fma(a0, v, load(0, q0, i))
    a1 = ts_fma(a1, v, load(0, q1, i))
    a2 = ts_fma(a2, v, load(0, q2, i))
    a3 = ts_fma(a3, v, load(0, q3, i))
    i &+= lanes
  }
  if i < d {
    let v = loadHalf(kind, k, i)
    a0 = ts_fma(a0, v, loadHalf(0, q0, i))
    a1 = ts_fma(a1, v, loadHalf(0, q1, i))
    a2 = ts_fma(a2, v, loadHalf(0, q2, i))
    a3 = ts_fma(a3, v, loadHalf(0, q3, i))
  }
  return ts_fold_four(a0, a1, a2, a3)
}
#endif

@inline(never) func dotF32(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(0, r, n, q, z, zs) }
@inline(never) func dotF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(1, r, n, q, z, zs) }
@inline(never) func dotBF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(2, r, n, q, z, zs) }
@inline(never) func dotI8(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotRows(3, r, n, q, z, zs) }
