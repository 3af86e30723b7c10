// Rows to f32, and their rotation by RoPE (arXiv 2104.09864, eq. 34).
import CShims

@inline(__always) func gatherRows(_ kind: Int, _ rows: Rows, _ n: Int, _ d: Int, _ to: Floats) {
  let r = rows.pointee
  var t = 0
  while t < n {
    let row = rowAddress(kind, r, t)
    let out = to + t &* d
    let next = aheadRow(kind, r, t)
    let s = ts_splat(kind == 3 ? rowScale(r, t) : 1)
    var i = 0
    while i &+ lanes <= d {
      let x = load(kind, row, i)
      ts_prefetch(next + i &* elementSize(kind))
      ts_store_f32(out + i, kind == 3 ? x * s : x)
      i &+= lanes
    }
    if i < d {
      let x = loadHalf(kind, row, i)
      ts_store_half_f32(out + i, kind == 3 ? x * s : x)
    }
    t &+= 1
  }
}

/// Rows to f32 and turned by half-split pairs in one pass; a whole number of vectors a half. Otherwise the same in two.
@inline(__always) func turnRows(
  _ kind: Int, _ rows: Rows, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>,
  _ stride: Int, _ to: Floats
) {
  let r = rows.pointee
  let size = elementSize(kind)
  var t = 0
  while t < n {
    let row = rowAddress(kind, r, t)
    let out = to + t &* d
    let next = aheadRow(kind, r, t)
    let scale = ts_splat(kind == 3 ? rowScale(r, t) : 1)
    let ct = c + t &* stride
    let st = s + t &* stride
    var i = 0
    while i < half {
      var u = load(kind, row, i)
      var v = load(kind, row, half &+ i)
      ts_prefetch(next + i &* size)
      ts_prefetch(next + (half &+ i) &* size)
      if kind == 3 {
        u = u * scale
        v = v * scale
      }
      let cos = ts_load_f32(ct + i)
      let sin = ts_load_f32(st + i)
      ts_store_f32(out + i, ts_fma(u * cos, -v, sin))
      ts_store_f32(out + (half &+ i), ts_fma(v * cos, u, sin))
      i &+= lanes
    }
    i = 2 &* half
    while i &+ lanes <= d {
      let x = load(kind, row, i)
      ts_prefetch(next + i &* size)
      ts_store_f32(out + i, kind == 3 ? x * scale : x)
      i &+= lanes
    }
    if i < d {
      let x = loadHalf(kind, row, i)
      ts_store_half_f32(out + i, kind == 3 ? x * scale : x)
    }
    t &+= 1
  }
}

@inline(never) func rotateHalf(
  _ x: Floats, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, _ stride: Int
) {
  var t = 0
  while t < n {
    let a = x + t &* d
    let b = a + half
    let ct = c + t &* stride
    let st = s + t &* stride
    var i = 0
    while i &+ lanes <= half {
      let u = ts_load_f32(a + i)
      let v = ts_load_f32(b + i)
      let cos = ts_load_f32(ct + i)
      let sin = ts_load_f32(st + i)
      ts_store_f32(a + i, ts_fma(u * cos, -v, sin))
      ts_store_f32(b + i, ts_fma(v * cos, u, sin))
      i &+= lanes
    }
    while i < half {
      let u = a[i]
      let v = b[i]
      a[i] = u * ct[i] - v * st[i]
      b[i] = v * ct[i] + u * st[i]
      i &+= 1
    }
    t &+= 1
  }
}

@inline(never) func rotateInterleaved(
  _ x: Floats, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, _ stride: Int
) {
  var t = 0
  while t < n {
    let a = x + t &* d
    let ct = c + t &* stride
    let st = s + t &* stride
    var i = 0
    while i &+ 4 <= half {
      ts_rotate_pairs4(a + 2 &* i, ct + i, st + i)
      i &+= 4
    }
    while i < half {
      let u = a[2 &* i]
      let v = a[2 &* i &+ 1]
      a[2 &* i] = u * ct[i] - v * st[i]
      a[2 &* i &+ 1] = v * ct[i] + u * st[i]
      i &+= 1
    }
    t &+= 1
  }
}

/// Cosines and sines by reduction to [-pi/4, pi/4] (pi/2 in three parts, exact to |angle| ~ 2^30) and Taylor polynomials
/// whose error is below f64 rounding there.
@inline(never) func angles(_ position: Double, _ frequency: UnsafePointer<Double>, _ half: Int, _ c: Floats, _ s: Floats) {
  var i = 0
  while i &+ 8 <= half {
    ts_sincos8(position, frequency + i, 8, c + i, s + i)
    i &+= 8
  }
  if i < half { ts_sincos8(position, frequency + i, Int32(truncatingIfNeeded: half &- i), c + i, s + i) }
}

@inline(never) func gatherF32(_ r: Rows, _ n: Int, _ d: Int, _ to: Floats) { gatherRows(0, r, n, d, to) }
@inline(never) func gatherF16(_ r: Rows, _ n: Int, _ d: Int, _ to: Floats) { gatherRows(1, r, n, d, to) }
@inline(never) func gatherBF16(_ r: Rows, _ n: Int, _ d: Int, _ to: Floats) { gatherRows(2, r, n, d, to) }
@inline(never) func gatherI8(_ r: Rows, _ n: Int, _ d: Int, _ to: Floats) { gatherRows(3, r, n, d, to) }
@inline(never) func turnF32(
  _ r: Rows, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, _ stride: Int, _ to: Floats
) {
  if half % lanes == 0 {
    turnRows(0, r, n, d, half, c, s, stride, to)
  } else {
    gatherF32(r, n, d, to)
    rotateHalf(to, n, d, half, c, s, stride)
  }
}
@inline(never) func turnF16(
  _ r: Rows, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, _ stride: Int, _ to: Floats
) {
  if half % lanes == 0 {
    turnRows(1, r, n, d, half, c, s, stride, to)
  } else {
    gatherF16(r, n, d, to)
    rotateHalf(to, n, d, half, c, s, stride)
  }
}
@inline(never) func turnBF16(
  _ r: Rows, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, _ stride: Int, _ to: Floats
) {
  if half % lanes == 0 {
    turnRows(2, r, n, d, half, c, s, stride, to)
  } else {
    gatherBF16(r, n, d, to)
    rotateHalf(to, n, d, half, c, s, stride)
  }
}
@inline(never) func turnI8(
  _ r: Rows, _ n: Int, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>, _ stride: Int, _ to: Floats
) {
  if half % lanes == 0 {
    turnRows(3, r, n, d, half, c, s, stride, to)
  } else {
    gatherI8(r, n, d, to)
    rotateHalf(to, n, d, half, c, s, stride)
  }
}
