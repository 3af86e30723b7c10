// Rows between linear layers: layer normalisation, and the int8 and bf16 forms that the products read.
import CShims

/// Arguments and result as `tk_linear.normalise`. Two passes over a row that stays in the first-level cache.
@inline(never) func normaliseRow(
  _ x: UnsafePointer<Float>, _ n: Int, _ padded: Int, _ weight: UnsafePointer<Float>, _ bias: UnsafePointer<Float>,
  _ epsilon: Float, _ to: Floats
) -> UInt32 {
  var a = ts_splat(0)
  var b = a
  var i = 0
  while i &+ 2 &* lanes <= n {
    a = a + ts_load_f32(x + i)
    b = b + ts_load_f32(x + (i &+ lanes))
    i &+= 2 &* lanes
  }
  let whole = i
  var sum = ts_sum(a + b)
  while i < n {
    sum += x[i]
    i &+= 1
  }
  let mean = sum / Float(n)
  a = ts_splat(0)
  b = a
  i = 0
  while i < whole {
    let u = ts_load_f32(x + i) - ts_splat(mean)
    let v = ts_load_f32(x + (i &+ lanes)) - ts_splat(mean)
    a = ts_fma(a, u, u)
    b = ts_fma(b, v, v)
    i &+= 2 &* lanes
  }
  var squares = ts_sum(a + b)
  while i < n {
    squares += (x[i] - mean) * (x[i] - mean)
    i &+= 1
  }
  let scale = 1 / tl_sqrt(squares / Float(n) + epsilon)
  var top = tl_splat_bits(0)
  i = 0
  while i < whole {
    let u = ts_fma(ts_load_f32(bias + i), (ts_load_f32(x + i) - ts_splat(mean)) * ts_splat(scale), ts_load_f32(weight + i))
    let v = ts_fma(
      ts_load_f32(bias + (i &+ lanes)), (ts_load_f32(x + (i &+ lanes)) - ts_splat(mean)) * ts_splat(scale),
      ts_load_f32(weight + (i &+ lanes)))
    top = tl_larger(top, tl_larger(tl_magnitude(u), tl_magnitude(v)))
    ts_store_f32(to + i, u)
    ts_store_f32(to + (i &+ lanes), v)
    i &+= 2 &* lanes
  }
  var most = tl_largest_lane(top)
  while i < n {
    to[i] = (x[i] - mean) * scale * weight[i] + bias[i]
    let bits = to[i].bitPattern & 0x7fff_ffff
    if bits > most { most = bits }
    i &+= 1
  }
  while i < padded {
    to[i] = 0
    i &+= 1
  }
  return most
}

@inline(never) func largestMagnitude(_ x: UnsafePointer<Float>, _ n: Int) -> UInt32 { largestBits(x, n, finite: false) }

/// One scale per row, found as it comes. The integers are the same at every level.
@inline(never) func quantiseRow(
  _ x: UnsafePointer<Float>, _ n: Int, _ padded: Int, _ largest: UInt32, _ to: UnsafeMutableRawPointer,
  _ offset: UnsafeMutablePointer<Int32>
) -> Float {
  let top = Float(bitPattern: largest)
  let finite = largest < 0x7f80_0000
  // Below 2^-100 the inverse would overflow, and such a row adds nothing to a sum.
  let inverse = finite && top > 0x1p-100 ? 127 / top : 0
  var sum: Int32 = 0
  var i = 0
  if inverse > 0 {
    var sums = tl_round(ts_splat(0))
    while i &+ lanes <= n {
      let level = tl_round(ts_load_f32(x + i) * ts_splat(inverse))
      sums = sums &+ level
      storeLevels(to, i, level)
      i &+= lanes
    }
    sum = tl_sum_lanes(sums)
    while i < n {
      let level = Int32((x[i] * inverse).rounded(.toNearestOrEven))
      sum &+= level
      storeLevel(to, i, level)
      i &+= 1
    }
  }
  while i < padded {
    storeLevel(to, i, 0)
    i &+= 1
  }
  #if ISA_V4X
  offset[0] = sum &* 128
  #else
  offset[0] = 0
  #endif
  return finite ? (inverse > 0 ? top / 127 : 0) : .nan
}

#if ISA_V4X
@inline(__always) private func storeLevels(_ to: UnsafeMutableRawPointer, _ i: Int, _ level: SIMD16<Int32>) {
  tl_store_i8(to + i, level)
}
@inline(__always) private func storeLevel(_ to: UnsafeMutableRawPointer, _ i: Int, _ level: Int32) {
  to.storeBytes(of: Int8(truncatingIfNeeded: level), toByteOffset: i, as: Int8.self)
}
#else
#if ISA_V4
typealias LevelVector = SIMD16<Int32>
#else
typealias LevelVector = SIMD8<Int32>
#endif
@inline(__always) private func storeLevels(_ to: UnsafeMutableRawPointer, _ i: Int, _ level: LevelVector) {
  tl_store_i16(to + 2 &* i, level)
}
@inline(__always) private func storeLevel(_ to: UnsafeMutableRawPointer, _ i: Int, _ level: Int32) {
  to.storeBytes(of: Int16(truncatingIfNeeded: level), toByteOffset: 2 &* i, as: Int16.self)
}
#endif

@inline(never) func roundRow(_ x: UnsafePointer<Float>, _ n: Int, _ padded: Int, _ to: UnsafeMutablePointer<UInt16>) {
  var i = 0
  while i &+ lanes <= n {
    tl_store_bf16(to + i, ts_load_f32(x + i))
    i &+= lanes
  }
  while i < n {
    to[i] = roundToBF16(x[i].bitPattern)
    i &+= 1
  }
  while i < padded {
    to[i] = 0
    i &+= 1
  }
}
