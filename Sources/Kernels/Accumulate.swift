// o[g] += sum_t p[g][t] v_t for a few queries g at once: a column block of o stays in registers while all rows of the block
// pass, and each row is read once per four queries.
import CShims

#if ISA_V4 || ISA_V4X
@inline(__always) func accumulate4(
  _ kind: Int, _ r: tk_rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats
) {
  let p1 = p + ps
  let p2 = p1 + ps
  let p3 = p2 + ps
  let o1 = o + d
  let o2 = o1 + d
  let o3 = o2 + d
  var c = 0
  // A whole row of 128: 32 sums in registers, memory read in order.
  while c &+ 8 &* lanes <= d {
    var a00 = ts_load_f32(o + (c &+ 0 &* lanes)), a01 = ts_load_f32(o + (c &+ 1 &* lanes))
    var a02 = ts_load_f32(o + (c &+ 2 &* lanes)), a03 = ts_load_f32(o + (c &+ 3 &* lanes))
    var a04 = ts_load_f32(o + (c &+ 4 &* lanes)), a05 = ts_load_f32(o + (c &+ 5 &* lanes))
    var a06 = ts_load_f32(o + (c &+ 6 &* lanes)), a07 = ts_load_f32(o + (c &+ 7 &* lanes))
    var a10 = ts_load_f32(o1 + (c &+ 0 &* lanes)), a11 = ts_load_f32(o1 + (c &+ 1 &* lanes))
    var a12 = ts_load_f32(o1 + (c &+ 2 &* lanes)), a13 = ts_load_f32(o1 + (c &+ 3 &* lanes))
    var a14 = ts_load_f32(o1 + (c &+ 4 &* lanes)), a15 = ts_load_f32(o1 + (c &+ 5 &* lanes))
    var a16 = ts_load_f32(o1 + (c &+ 6 &* lanes)), a17 = ts_load_f32(o1 + (c &+ 7 &* lanes))
    var a20 = ts_load_f32(o2 + (c &+ 0 &* lanes)), a21 = ts_load_f32(o2 + (c &+ 1 &* lanes))
    var a22 = ts_load_f32(o2 + (c &+ 2 &* lanes)), a23 = ts_load_f32(o2 + (c &+ 3 &* lanes))
    var a24 = ts_load_f32(o2 + (c &+ 4 &* lanes)), a25 = ts_load_f32(o2 + (c &+ 5 &* lanes))
    var a26 = ts_load_f32(o2 + (c &+ 6 &* lanes)), a27 = ts_load_f32(o2 + (c &+ 7 &* lanes))
    var a30 = ts_load_f32(o3 + (c &+ 0 &* lanes)), a31 = ts_load_f32(o3 + (c &+ 1 &* lanes))
    var a32 = ts_load_f32(o3 + (c &+ 2 &* lanes)), a33 = ts_load_f32(o3 + (c &+ 3 &* lanes))
    var a34 = ts_load_f32(o3 + (c &+ 4 &* lanes)), a35 = ts_load_f32(o3 + (c &+ 5 &* lanes))
    var a36 = ts_load_f32(o3 + (c &+ 6 &* lanes)), a37 = ts_load_f32(o3 + (c &+ 7 &* lanes))
    var t = 0
    while t < n {
      let v = rowAddress(kind, r, t)
      let next = r.ahead != nil ? aheadRow(kind, r, t) + c &* elementSize(kind) : nil
      accumulateStep(kind, &a00, &a10, &a20, &a30, v, c &+ 0 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 0)
      accumulateStep(kind, &a01, &a11, &a21, &a31, v, c &+ 1 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 1)
      accumulateStep(kind, &a02, &a12, &a22, &a32, v, c &+ 2 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 2)
      accumulateStep(kind, &a03, &a13, &a23, &a33, v, c &+ 3 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 3)
      accumulateStep(kind, &a04, &a14, &a24, &a34, v, c &+ 4 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 4)
      accumulateStep(kind, &a05, &a15, &a25, &a35, v, c &+ 5 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 5)
      accumulateStep(kind, &a06, &a16, &a26, &a36, v, c &+ 6 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 6)
      accumulateStep(kind, &a07, &a17, &a27, &a37, v, c &+ 7 &* lanes, p + t, p1 + t, p2 + t, p3 + t, next, 7)
      t &+= 1
    }
    ts_store_f32(o + (c &+ 0 &* lanes), a00)
    ts_store_f32(o + (c &+ 1 &* lanes), a01)
    ts_store_f32(o + (c &+ 2 &* lanes), a02)
    ts_store_f32(o + (c &+ 3 &* lanes), a03)
    ts_store_f32(o + (c &+ 4 &* lanes), a04)
    ts_store_f32(o + (c &+ 5 &* lanes), a05)
    ts_store_f32(o + (c &+ 6 &* lanes), a06)
    ts_store_f32(o + (c &+ 7 &* lanes), a07)
    ts_store_f32(o1 + (c &+ 0 &* lanes), a10)
    ts_store_f32(o1 + (c &+ 1 &* lanes), a11)
    ts_store_f32(o1 + (c &+ 2 &* lanes), a12)
    ts_store_f32(o1 + (c &+ 3 &* lanes), a13)
    ts_store_f32(o1 + (c &+ 4 &* lanes), a14)
    ts_store_f32(o1 + (c &+ 5 &* lanes), a15)
    ts_store_f32(o1 + (c &+ 6 &* lanes), a16)
    ts_store_f32(o1 + (c &+ 7 &* lanes), a17)
    ts_store_f32(o2 + (c &+ 0 &* lanes), a20)
    ts_store_f32(o2 + (c &+ 1 &* lanes), a21)
    ts_store_f32(o2 + (c &+ 2 &* lanes), a22)
    ts_store_f32(o2 + (c &+ 3 &* lanes), a23)
    ts_store_f32(o2 + (c &+ 4 &* lanes), a24)
    ts_store_f32(o2 + (c &+ 5 &* lanes), a25)
    ts_store_f32(o2 + (c &+ 6 &* lanes), a26)
    ts_store_f32(o2 + (c &+ 7 &* lanes), a27)
    ts_store_f32(o3 + (c &+ 0 &* lanes), a30)
    ts_store_f32(o3 + (c &+ 1 &* lanes), a31)
    ts_store_f32(o3 + (c &+ 2 &* lanes), a32)
    ts_store_f32(o3 + (c &+ 3 &* lanes), a33)
    ts_store_f32(o3 + (c &+ 4 &* lanes), a34)
    ts_store_f32(o3 + (c &+ 5 &* lanes), a35)
    ts_store_f32(o3 + (c &+ 6 &* lanes), a36)
    ts_store_f32(o3 + (c &+ 7 &* lanes), a37)
    c &+= 8 &* lanes
  }
  while c &+ 4 &* lanes <= d {
    let c1 = c &+ lanes
    let c2 = c &+ 2 &* lanes
    let c3 = c &+ 3 &* lanes
    var a00 = ts_load_f32(o + c), a01 = ts_load_f32(o + c1), a02 = ts_load_f32(o + c2), a03 = ts_load_f32(o + c3)
    var a10 = ts_load_f32(o1 + c), a11 = ts_load_f32(o1 + c1), a12 = ts_load_f32(o1 + c2), a13 = ts_load_f32(o1 + c3)
    var a20 = ts_load_f32(o2 + c), a21 = ts_load_f32(o2 + c1), a22 = ts_load_f32(o2 + c2), a23 = ts_load_f32(o2 + c3)
    var a30 = ts_load_f32(o3 + c), a31 = ts_load_f32(o3 + c1), a32 = ts_load_f32(o3 + c2), a33 = ts_load_f32(o3 + c3)
    var t = 0
    while t < n {
      let v = rowAddress(kind, r, t)
      prefetchColumns(kind, r, t, c)
      let s = kind == 3 ? rowScale(r, t) : 1
      let w0 = ts_splat(kind == 3 ? p[t] * s : p[t])
      let w1 = ts_splat(kind == 3 ? p1[t] * s : p1[t])
      let w2 = ts_splat(kind == 3 ? p2[t] * s : p2[t])
      let w3 = ts_splat(kind == 3 ? p3[t] * s : p3[t])
      let v0 = load(kind, v, c)
      a00 = ts_fma(a00, w0, v0)
      a10 = ts_fma(a10, w1, v0)
      a20 = ts_fma(a20, w2, v0)
      a30 = ts_fma(a30, w3, v0)
      let v1 = load(kind, v, c1)
      a01 = ts_fma(a01, w0, v1)
      a11 = ts_fma(a11, w1, v1)
      a21 = ts_fma(a21, w2, v1)
      a31 = ts_fma(a31, w3, v1)
      let v2 = load(kind, v, c2)
      a02 = ts_fma(a02, w0, v2)
      a12 = ts_fma(a12, w1, v2)
      a22 = ts_fma(a22, w2, v2)
      a32 = ts_fma(a32, w3, v2)
      let v3 = load(kind, v, c3)
      a03 = ts_fma(a03, w0, v3)
      a13 = ts_fma(a13, w1, v3)
      a23 = ts_fma(a23, w2, v3)
      a33 = ts_fma(a33, w3, v3)
      t &+= 1
    }
    ts_store_f32(o + c, a00)
    ts_store_f32(o + c1, a01)
    ts_store_f32(o + c2, a02)
    ts_store_f32(o + c3, a03)
    ts_store_f32(o1 + c, a10)
    ts_store_f32(o1 + c1, a11)
    ts_store_f32(o1 + c2, a12)
    ts_store_f32(o1 + c3, a13)
    ts_store_f32(o2 + c, a20)
    ts_store_f32(o2 + c1, a21)
    ts_store_f32(o2 + c2, a22)
    ts_store_f32(o2 + c3, a23)
    ts_store_f32(o3 + c, a30)
    ts_store_f32(o3 + c1, a31)
    ts_store_f32(o3 + c2, a32)
    ts_store_f32(o3 + c3, a33)
    c &+= 4 &* lanes
  }
  accumulateColumns(kind, r, n, p, d, o, c)
  accumulateColumns(kind, r, n, p1, d, o1, c)
  accumulateColumns(kind, r, n, p2, d, o2, c)
  accumulateColumns(kind, r, n, p3, d, o3, c)
}

@inline(__always) func accumulateStep(
  _ kind: Int, _ a0: inout F, _ a1: inout F, _ a2: inout F, _ a3: inout F, _ v: UnsafeRawPointer, _ c: Int,
  _ p0: UnsafePointer<Float>, _ p1: UnsafePointer<Float>, _ p2: UnsafePointer<Float>, _ p3: UnsafePointer<Float>,
  _ next: UnsafeRawPointer?, _ j: Int
) {
  if let next, j &* lanes &* elementSize(kind) % 64 == 0 { ts_prefetch(next + j &* lanes &* elementSize(kind)) }
  let x = load(kind, v, c)
  a0 = ts_fma_weight(a0, x, p0)
  a1 = ts_fma_weight(a1, x, p1)
  a2 = ts_fma_weight(a2, x, p2)
  a3 = ts_fma_weight(a3, x, p3)
}
#endif

@inline(__always) func accumulate2(
  _ kind: Int, _ r: tk_rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats
) {
  let p1 = p + ps
  let o1 = o + d
  var c = 0
  while c &+ 4 &* lanes <= d {
    let c1 = c &+ lanes
    let c2 = c &+ 2 &* lanes
    let c3 = c &+ 3 &* lanes
    var a00 = ts_load_f32(o + c), a01 = ts_load_f32(o + c1), a02 = ts_load_f32(o + c2), a03 = ts_load_f32(o + c3)
    var a10 = ts_load_f32(o1 + c), a11 = ts_load_f32(o1 + c1), a12 = ts_load_f32(o1 + c2), a13 = ts_load_f32(o1 + c3)
    var t = 0
    while t < n {
      let v = rowAddress(kind, r, t)
      prefetchColumns(kind, r, t, c)
      let s = kind == 3 ? rowScale(r, t) : 1
      let w0 = ts_splat(kind == 3 ? p[t] * s : p[t])
      let w1 = ts_splat(kind == 3 ? p1[t] * s : p1[t])
      let v0 = load(kind, v, c)
      a00 = ts_fma(a00, w0, v0)
      a10 = ts_fma(a10, w1, v0)
      let v1 = load(kind, v, c1)
      a01 = ts_fma(a01, w0, v1)
      a11 = ts_fma(a11, w1, v1)
      let v2 = load(kind, v, c2)
      a02 = ts_fma(a02, w0, v2)
      a12 = ts_fma(a12, w1, v2)
      let v3 = load(kind, v, c3)
      a03 = ts_fma(a03, w0, v3)
      a13 = ts_fma(a13, w1, v3)
      t &+= 1
    }
    ts_store_f32(o + c, a00)
    ts_store_f32(o + c1, a01)
    ts_store_f32(o + c2, a02)
    ts_store_f32(o + c3, a03)
    ts_store_f32(o1 + c, a10)
    ts_store_f32(o1 + c1, a11)
    ts_store_f32(o1 + c2, a12)
    ts_store_f32(o1 + c3, a13)
    c &+= 4 &* lanes
  }
  accumulateColumns(kind, r, n, p, d, o, c)
  accumulateColumns(kind, r, n, p1, d, o1, c)
}

@inline(__always) func accumulate1(
  _ kind: Int, _ r: tk_rows, _ n: Int, _ p: UnsafePointer<Float>, _ d: Int, _ o: Floats
) {
  var c = 0
  while c &+ 4 &* lanes <= d {
    let c1 = c &+ lanes
    let c2 = c &+ 2 &* lanes
    let c3 = c &+ 3 &* lanes
    var a0 = ts_load_f32(o + c), a1 = ts_load_f32(o + c1), a2 = ts_load_f32(o + c2), a3 = ts_load_f32(o + c3)
    var t = 0
    while t < n {
      let v = rowAddress(kind, r, t)
      let w = ts_splat(kind == 3 ? p[t] * rowScale(r, t) : p[t])
      a0 = ts_fma(a0, w, load(kind, v, c))
      a1 = ts_fma(a1, w, load(kind, v, c1))
      a2 = ts_fma(a2, w, load(kind, v, c2))
      a3 = ts_fma(a3, w, load(kind, v, c3))
      t &+= 1
    }
    ts_store_f32(o + c, a0)
    ts_store_f32(o + c1, a1)
    ts_store_f32(o + c2, a2)
    ts_store_f32(o + c3, a3)
    c &+= 4 &* lanes
  }
  accumulateColumns(kind, r, n, p, d, o, c)
}

/// Brings near the columns of what follows that match the four vectors from column c on.
@inline(__always) func prefetchColumns(_ kind: Int, _ r: tk_rows, _ t: Int, _ c: Int) {
  if r.ahead == nil { return }
  let size = elementSize(kind)
  let next = aheadRow(kind, r, t) + c &* size
  var i = 0
  while i < 4 &* lanes &* size {
    ts_prefetch(next + i)
    i &+= 64
  }
}

/// The columns from c on that do not fill four vectors.
@inline(__always) func accumulateColumns(
  _ kind: Int, _ r: tk_rows, _ n: Int, _ p: UnsafePointer<Float>, _ d: Int, _ o: Floats, _ from: Int
) {
  var c = from
  while c &+ lanes <= d {
    var a = ts_load_f32(o + c)
    var t = 0
    while t < n {
      let w = ts_splat(kind == 3 ? p[t] * rowScale(r, t) : p[t])
      a = ts_fma(a, w, load(kind, rowAddress(kind, r, t), c))
      t &+= 1
    }
    ts_store_f32(o + c, a)
    c &+= lanes
  }
  if c < d {
    var a = ts_load_half_f32(o + c)
    var t = 0
    while t < n {
      let w = ts_splat(kind == 3 ? p[t] * rowScale(r, t) : p[t])
      a = ts_fma(a, w, loadHalf(kind, rowAddress(kind, r, t), c))
      t &+= 1
    }
    ts_store_half_f32(o + c, a)
  }
}

typealias AccumulateMany = (Rows, Int, UnsafePointer<Float>, Int, Int, Floats) -> Void
typealias AccumulateOne = (Rows, Int, UnsafePointer<Float>, Int, Floats) -> Void

/// All rows of weights: four, then two, then one at a time.
@inline(__always) func inGroups(
  _ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats,
  four: AccumulateMany?, two: AccumulateMany, one: AccumulateOne
) {
  var g = 0
  if let four {
    while g &+ 4 <= count {
      four(r, n, p + g &* ps, ps, d, o + g &* d)
      g &+= 4
    }
  }
  while g &+ 2 <= count {
    two(r, n, p + g &* ps, ps, d, o + g &* d)
    g &+= 2
  }
  if g < count { one(r, n, p + g &* ps, d, o + g &* d) }
}

@inline(never) func accumulateTwoF32(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate2(0, r.pointee, n, p, ps, d, o)
}
@inline(never) func accumulateOneF32(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ d: Int, _ o: Floats) {
  accumulate1(0, r.pointee, n, p, d, o)
}
#if ISA_V4 || ISA_V4X
@inline(never) func accumulateFourF32(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate4(0, r.pointee, n, p, ps, d, o)
}
#endif
@inline(never) func accumulateF32(
  _ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats
) {
  #if ISA_V4 || ISA_V4X
  inGroups(r, n, p, ps, count, d, o, four: accumulateFourF32, two: accumulateTwoF32, one: accumulateOneF32)
  #elseif ISA_V3
  inGroups(r, n, p, ps, count, d, o, four: accumulatePairsF32, two: accumulateTwoF32, one: accumulateOneF32)
  #else
  inGroups(r, n, p, ps, count, d, o, four: nil, two: accumulateTwoF32, one: accumulateOneF32)
  #endif
}

@inline(never) func accumulateTwoF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate2(1, r.pointee, n, p, ps, d, o)
}
@inline(never) func accumulateOneF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ d: Int, _ o: Floats) {
  accumulate1(1, r.pointee, n, p, d, o)
}
#if ISA_V4 || ISA_V4X
@inline(never) func accumulateFourF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate4(1, r.pointee, n, p, ps, d, o)
}
#endif
@inline(never) func accumulateF16(
  _ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats
) {
  #if ISA_V4 || ISA_V4X
  inGroups(r, n, p, ps, count, d, o, four: accumulateFourF16, two: accumulateTwoF16, one: accumulateOneF16)
  #elseif ISA_V3
  inGroups(r, n, p, ps, count, d, o, four: accumulatePairsF16, two: accumulateTwoF16, one: accumulateOneF16)
  #else
  inGroups(r, n, p, ps, count, d, o, four: nil, two: accumulateTwoF16, one: accumulateOneF16)
  #endif
}

@inline(never) func accumulateTwoBF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate2(2, r.pointee, n, p, ps, d, o)
}
@inline(never) func accumulateOneBF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ d: Int, _ o: Floats) {
  accumulate1(2, r.pointee, n, p, d, o)
}
#if ISA_V4 || ISA_V4X
@inline(never) func accumulateFourBF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate4(2, r.pointee, n, p, ps, d, o)
}
#endif
@inline(never) func accumulateBF16(
  _ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats
) {
  #if ISA_V4 || ISA_V4X
  inGroups(r, n, p, ps, count, d, o, four: accumulateFourBF16, two: accumulateTwoBF16, one: accumulateOneBF16)
  #elseif ISA_V3
  inGroups(r, n, p, ps, count, d, o, four: accumulatePairsBF16, two: accumulateTwoBF16, one: accumulateOneBF16)
  #else
  inGroups(r, n, p, ps, count, d, o, four: nil, two: accumulateTwoBF16, one: accumulateOneBF16)
  #endif
}

@inline(never) func accumulateTwoI8(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ d: Int, _ o: Floats) {
  accumulate2(3, r.pointee, n, p, ps, d, o)
}
@inline(never) func accumulateOneI8(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ d: Int, _ o: Floats) {
  accumulate1(3, r.pointee, n, p, d, o)
}
@inline(never) func accumulateI8(
  _ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats
) {
  #if ISA_V3
  inGroups(r, n, p, ps, count, d, o, four: accumulatePairsI8, two: accumulateTwoI8, one: accumulateOneI8)
  #else
  inGroups(r, n, p, ps, count, d, o, four: nil, two: accumulateTwoI8, one: accumulateOneI8)
  #endif
}
