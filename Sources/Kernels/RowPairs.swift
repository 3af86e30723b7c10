// Dot products and sums of rows at the level of AVX2: two rows at a time, all columns, so that memory is read in the order in which
// it lies; the hardware's prefetcher does not follow four rows abreast or a row in pieces. Two prefetches accompany each line: one of
// the next block to the second-level cache, and one of the row four further on to the first: of the far ones some are dropped when
// they come faster than memory answers, and the near one catches those and hides the second level's latency.
import CShims

#if ISA_V3
/// Two rows against four queries (0, j1, j2, j3 of those at q); the sums are those of `dotFew`, bit for bit.
@inline(__always) func dotPairs(
  _ kind: Int, _ r: tk_rows, _ n: Int, _ q: UnsafePointer<Float>, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int,
  _ z: Floats, _ zs: Int
) {
  let size = elementSize(kind)
  let q0 = UnsafeRawPointer(q)
  let q1 = q0 + j1 &* d &* 4
  let q2 = q0 + j2 &* d &* 4
  let q3 = q0 + j3 &* d &* 4
  var t = 0
  while t < n {
    let pair = t &+ 1 < n ? 1 : 0
    let k = rowAddress(kind, r, t)
    let h = rowAddress(kind, r, t &+ pair)
    let next = aheadRow(kind, r, t)
    let after = aheadRow(kind, r, t &+ pair)
    let near = rowAddress(kind, r, t &+ 4 < n ? t &+ 4 : t)
    let beside = rowAddress(kind, r, t &+ 5 < n ? t &+ 5 : t)
    var a0 = ts_splat(0)
    var a1 = a0, a2 = a0, a3 = a0
    var b0 = a0, b1 = a0, b2 = a0, b3 = a0
    var i = 0
    while i < d {
      if i &* size % 64 == 0 {
        ts_prefetch(next + i &* size)
        ts_prefetch(after + i &* size)
        ts_prefetch_near(near + i &* size)
        ts_prefetch_near(beside + i &* size)
      }
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
      i &+= lanes
    }
    var s = ts_sum4(a0, a1, a2, a3)
    var u = ts_sum4(b0, b1, b2, b3)
    if kind == 3 {
      s *= rowScale(r, t)
      u *= rowScale(r, t &+ pair)
    }
    z[t] = s[0]
    z[j1 &* zs &+ t] = s[1]
    z[j2 &* zs &+ t] = s[2]
    z[j3 &* zs &+ t] = s[3]
    z[t &+ pair] = u[0]
    z[j1 &* zs &+ t &+ pair] = u[1]
    z[j2 &* zs &+ t &+ pair] = u[2]
    z[j3 &* zs &+ t &+ pair] = u[3]
    t &+= 2
  }
}

/// o[g] += p[g][t] v_t + p[g][t + 1] v_{t + 1} for four queries; o stays in the first-level cache.
@inline(__always) func accumulatePairs(
  _ kind: Int, _ r: tk_rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats
) {
  let size = elementSize(kind)
  let o1 = o + d
  let o2 = o1 + d
  let o3 = o2 + d
  var t = 0
  while t &+ 2 <= n {
    let v = rowAddress(kind, r, t)
    let w = rowAddress(kind, r, t &+ 1)
    let next = aheadRow(kind, r, t)
    let after = aheadRow(kind, r, t &+ 1)
    let near = rowAddress(kind, r, t &+ 4 < n ? t &+ 4 : t)
    let beside = rowAddress(kind, r, t &+ 5 < n ? t &+ 5 : t)
    let s = kind == 3 ? rowScale(r, t) : 1
    let u = kind == 3 ? rowScale(r, t &+ 1) : 1
    let pt = p + t
    let a0 = ts_splat(kind == 3 ? pt[0] * s : pt[0])
    let b0 = ts_splat(kind == 3 ? pt[1] * u : pt[1])
    let a1 = ts_splat(kind == 3 ? pt[ps] * s : pt[ps])
    let b1 = ts_splat(kind == 3 ? pt[ps &+ 1] * u : pt[ps &+ 1])
    let a2 = ts_splat(kind == 3 ? pt[2 &* ps] * s : pt[2 &* ps])
    let b2 = ts_splat(kind == 3 ? pt[2 &* ps &+ 1] * u : pt[2 &* ps &+ 1])
    let a3 = ts_splat(kind == 3 ? pt[3 &* ps] * s : pt[3 &* ps])
    let b3 = ts_splat(kind == 3 ? pt[3 &* ps &+ 1] * u : pt[3 &* ps &+ 1])
    var c = 0
    while c < d {
      if c &* size % 64 == 0 {
        ts_prefetch(next + c &* size)
        ts_prefetch(after + c &* size)
        ts_prefetch_near(near + c &* size)
        ts_prefetch_near(beside + c &* size)
      }
      let x = load(kind, v, c)
      let y = load(kind, w, c)
      ts_store_f32(o + c, ts_fma(ts_fma(ts_load_f32(o + c), a0, x), b0, y))
      ts_store_f32(o1 + c, ts_fma(ts_fma(ts_load_f32(o1 + c), a1, x), b1, y))
      ts_store_f32(o2 + c, ts_fma(ts_fma(ts_load_f32(o2 + c), a2, x), b2, y))
      ts_store_f32(o3 + c, ts_fma(ts_fma(ts_load_f32(o3 + c), a3, x), b3, y))
      c &+= lanes
    }
    t &+= 2
  }
  if t < n {
    let v = rowAddress(kind, r, t)
    let s = kind == 3 ? rowScale(r, t) : 1
    var g = 0
    while g < 4 {
      let a = ts_splat(kind == 3 ? p[g &* ps &+ t] * s : p[g &* ps &+ t])
      let og = o + g &* d
      var c = 0
      while c < d {
        ts_store_f32(og + c, ts_fma(ts_load_f32(og + c), a, load(kind, v, c)))
        c &+= lanes
      }
      g &+= 1
    }
  }
}

/// A block against all queries, four at a time; one or two by `few`. A group that is not full repeats its last query.
@inline(__always) func inFours(
  _ r: Rows, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int, few: (Rows, Int, Queries, Floats, Int) -> Void,
  four: (Rows, Int, UnsafePointer<Float>, Int, Int, Int, Int, Floats, Int) -> Void
) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = w.f32.unsafelyUnwrapped
  if w.count <= 2 {
    few(r, n, queries, z, zs)
    return
  }
  var g = 0
  while g < Int(w.count) {
    let last = Int(w.count) &- 1 &- g
    four(r, n, q + g &* d, d, last < 1 ? last : 1, last < 2 ? last : 2, last < 3 ? last : 3, z + g &* zs, zs)
    g &+= 4
  }
}

@inline(never) func dotPairsF32(
  _ r: Rows, _ n: Int, _ q: UnsafePointer<Float>, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotPairs(0, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotF32(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewF32, four: dotPairsF32)
}
@inline(never) func accumulatePairsF32(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulatePairs(0, r.pointee, n, p, ps, d, o)
}

@inline(never) func dotPairsF16(
  _ r: Rows, _ n: Int, _ q: UnsafePointer<Float>, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotPairs(1, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewF16, four: dotPairsF16)
}
@inline(never) func accumulatePairsF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulatePairs(1, r.pointee, n, p, ps, d, o)
}

@inline(never) func dotPairsBF16(
  _ r: Rows, _ n: Int, _ q: UnsafePointer<Float>, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotPairs(2, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotBF16(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewBF16, four: dotPairsBF16)
}
@inline(never) func accumulatePairsBF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulatePairs(2, r.pointee, n, p, ps, d, o)
}

@inline(never) func dotPairsI8(
  _ r: Rows, _ n: Int, _ q: UnsafePointer<Float>, _ d: Int, _ j1: Int, _ j2: Int, _ j3: Int, _ z: Floats, _ zs: Int
) {
  dotPairs(3, r.pointee, n, q, d, j1, j2, j3, z, zs)
}
@inline(never) func dotI8(_ r: Rows, _ n: Int, _ q: Queries, _ z: Floats, _ zs: Int) {
  inFours(r, n, q, z, zs, few: dotFewI8, four: dotPairsI8)
}
@inline(never) func accumulatePairsI8(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulatePairs(3, r.pointee, n, p, ps, d, o)
}
#endif
