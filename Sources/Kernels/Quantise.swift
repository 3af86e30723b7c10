// int8 with one scale per row: value = int8 * scale.
import CShims

@inline(never) func i8ToF32(_ from: UnsafePointer<Int8>, _ scale: Float, _ to: Floats, _ n: Int) {
  let s = ts_splat(scale)
  var i = 0
  while i &+ lanes <= n {
    ts_store_f32(to + i, ts_load_i8(from + i) * s)
    i &+= lanes
  }
  while i < n {
    to[i] = Float(from[i]) * scale
    i &+= 1
  }
}

@inline(__always) func isFinite(_ x: Float) -> Bool { x.bitPattern & 0x7f80_0000 != 0x7f80_0000 }

/// The bits of the largest |x|, which order as the numbers do, infinities and NaN above them; `finite`: of those that are.
@inline(__always) func largestBits(_ x: UnsafePointer<Float>, _ n: Int, finite: Bool) -> UInt32 {
  var tops = tl_splat_bits(0)
  var i = 0
  while i &+ lanes <= n {
    let v = ts_load_f32(x + i)
    tops = tl_larger(tops, tl_magnitude(finite ? ts_finite_size(v) : v))
    i &+= lanes
  }
  var top = tl_largest_lane(tops)
  while i < n {
    let bits = x[i].bitPattern & 0x7fff_ffff
    if bits > top && !(finite && bits >= 0x7f80_0000) { top = bits }
    i &+= 1
  }
  return top
}

/// x / scale to the nearest integer (ties to even), never beyond 127.
@inline(__always) func quantised(_ x: Float, _ scale: Float) -> Int8 {
  if scale == 0 || !isFinite(x) { return 0 }
  let y = (x / scale).rounded(.toNearestOrEven)
  return Int8(truncatingIfNeeded: Int32(y > 127 ? 127 : y < -127 ? -127 : y))
}

@inline(never) func f32ToI8(_ from: UnsafePointer<Float>, _ to: UnsafeMutablePointer<Int8>, _ n: Int) -> Float {
  let scale = Float(bitPattern: largestBits(from, n, finite: true)) / 127
  quantise(from, scale, to, n)
  return scale
}

@inline(__always) func quantise(_ from: UnsafePointer<Float>, _ scale: Float, _ to: UnsafeMutablePointer<Int8>, _ n: Int) {
  var i = 0
  while scale != 0 && i &+ lanes <= n {
    ts_store_quantised(to + i, ts_load_f32(from + i), scale)
    i &+= lanes
  }
  while i < n {
    to[i] = quantised(from[i], scale)
    i &+= 1
  }
}

@inline(never) func prepareQueries(_ queries: Queries) {
  let q = queries.pointee
  let d = Int(q.dim)
  let f32 = q.f32.unsafelyUnwrapped
  f32ToBF16(f32, q.bf16.unsafelyUnwrapped, Int(q.count) &* d)
  var g = 0
  while g < Int(q.count) {
    prepareInt8(q, g, f32 + g &* d, d)
    g &+= 1
  }
  #if ISA_V4X
  packPanels(q)
  #endif
}

@inline(never) func prepareInt8(_ q: tk_queries, _ g: Int, _ x: Floats, _ d: Int) {
  let high = q.i8_high.unsafelyUnwrapped + g &* d
  let low = q.i8_low.unsafelyUnwrapped + g &* d
  let scale = f32ToI8(x, high, d)
  let fine = scale / 256
  var bad = false
  var i = 0
  while fine != 0 && i &+ lanes <= d {
    let v = ts_load_f32(x + i)
    // v - v is 0 where v is finite and NaN elsewhere.
    let check = v - v
    if !(ts_sum(check) == 0) { bad = true }
    ts_store_quantised(low + i, v - ts_load_i8(high + i) * ts_splat(scale) + check, fine)
    i &+= lanes
  }
  while i < d {
    low[i] = isFinite(x[i]) ? quantised(x[i] - Float(high[i]) * scale, fine) : 0
    if !isFinite(x[i]) { bad = true }
    i &+= 1
  }
  var highSum: Int32 = 0
  var lowSum: Int32 = 0
  i = 0
  while i < d {
    highSum &+= Int32(high[i])
    lowSum &+= Int32(low[i])
    i &+= 1
  }
  // int8 has no NaN; the scale has, and so it reaches every logit of the query.
  q.i8_scale.unsafelyUnwrapped[g] = bad ? .nan : scale
  q.i8_high_sum.unsafelyUnwrapped[g] = highSum
  q.i8_low_sum.unsafelyUnwrapped[g] = lowSum
}
