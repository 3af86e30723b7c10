// Dot products of a few query vectors with many rows: each row is loaded once for up to four queries, and the sums of four rows
// are reduced together in the same order as a single sum.
import CShims

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

// A kernel's loops fold their kind away only where they are inlined, and the compiler stops inlining in a function that has
// grown large: so each form is a function of its own.
@inline(never) func dotFewF32(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFew(0, r, n, q, z, zs) }
@inline(never) func dotFewF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFew(1, r, n, q, z, zs) }
@inline(never) func dotFewBF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFew(2, r, n, q, z, zs) }
@inline(never) func dotFewI8(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) { dotFew(3, r, n, q, z, zs) }
