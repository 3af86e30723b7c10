// o[g] += sum_t p[g][t] v_t for a few queries g at once: a column block of o stays in registers while all rows of the block
// pass, and each row is read once per four queries.
import CShims

@inline(__always) func accumulateRows(
  _ kind: Int, _ rows: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ count: Int, _ d: Int, _ o: Floats
) {
  let r = rows.pointee
  var g = 0
  #if ISA_V4 || ISA_V4X
  while g &+ 4 <= count {
    accumulate4(kind, r, n, p + g &* ps, ps, d, o + g &* d)
    g &+= 4
  }
  #endif
  while g &+ 2 <= count {
    accumulate2(kind, r, n, p + g &* ps, ps, d, o + g &* d)
    g &+= 2
  }
  if g < count { accumulate1(kind, r, n, p + g &* ps, d, o + g &* d) }
}

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

@inline(never) func accumulateF32(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ g: Int, _ d: Int, _ o: Floats) {
  accumulateRows(0, r, n, p, ps, g, d, o)
}
@inline(never) func accumulateF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ g: Int, _ d: Int, _ o: Floats) {
  accumulateRows(1, r, n, p, ps, g, d, o)
}
@inline(never) func accumulateBF16(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ g: Int, _ d: Int, _ o: Floats) {
  accumulateRows(2, r, n, p, ps, g, d, o)
}
@inline(never) func accumulateI8(_ r: Rows, _ n: Int, _ p: UnsafePointer<Float>, _ ps: Int, _ g: Int, _ d: Int, _ o: Floats) {
  accumulateRows(3, r, n, p, ps, g, d, o)
}
