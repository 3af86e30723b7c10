// What becomes of the sums of a linear layer while they are still near: scale, bias, activation, residual, rounding.
import CShims

@inline(never) func finishLinear(
  _ y: UnsafeMutableRawPointer, _ yStride: Int, _ rows: Int, _ columns: Int, _ finish: UnsafePointer<tk_finish>,
  _ to: UnsafeMutablePointer<UInt16>?, _ toStride: Int
) {
  let how = finish.pointee
  if how.activation == 1 {
    finishRows(1, y, yStride, rows, columns, how, to, toStride)
  } else if how.activation == 2 {
    finishRows(2, y, yStride, rows, columns, how, to, toStride)
  } else if how.activation == 3 {
    finishRows(3, y, yStride, rows, columns, how, to, toStride)
  } else {
    finishRows(0, y, yStride, rows, columns, how, to, toStride)
  }
}

@inline(__always) private func finishRows(
  _ activation: Int, _ y: UnsafeMutableRawPointer, _ yStride: Int, _ rows: Int, _ columns: Int, _ how: tk_finish,
  _ to: UnsafeMutablePointer<UInt16>?, _ toStride: Int
) {
  var r = 0
  while r < rows {
    let row = y + r &* yStride
    var top = tl_splat_bits(0)
    let scale = ts_splat(how.row_scale.map { $0[r] } ?? 1)
    let offset = how.row_offset.map { $0[r] } ?? 0
    var i = 0
    while i < columns {
      var v = ts_load_f32(row + i &* 4)
      if let column = how.column_scale {
        v = ts_fma(ts_load_f32(how.bias + i), tl_int_to_f32(v, offset) * scale, ts_load_f32(column + i))
      } else {
        v = v + ts_load_f32(how.bias + i)
      }
      if activation == 1 { v = geluErf(v) }
      if activation == 2 { v = geluTanh(v) }
      if activation == 3 { v = ts_max(ts_splat(0), v) }
      if let residual = how.residual { v = v + ts_load_f32(residual + (r &* how.residual_stride &+ i)) }
      top = tl_larger(top, tl_magnitude(v))
      if let to {
        tl_store_bf16(UnsafeMutableRawPointer(to) + (r &* toStride &+ i &* 2), v)
      } else {
        ts_store_f32(row + i &* 4, v)
      }
      i &+= lanes
    }
    if let tops = how.top {
      let most = tl_largest_lane(top)
      if most > tops[r] { tops[r] = most }
    }
    r &+= 1
  }
}

/// x Phi(x), Phi by a rational approximation of erf on [-3.9, 3.9] (|error| < 4e-7): error under 1e-6 max(1, |result|).
@inline(__always) func geluErf(_ x: F) -> F {
  let z = ts_max(ts_splat(-3.9), ts_min(ts_splat(3.9), x * ts_splat(0.707_106_78)))
  let u = z * z
  var p = ts_splat(0x1.1332eep-19)
  p = ts_fma(ts_splat(0x1.2d6bd6p-12), p, u)
  p = ts_fma(ts_splat(0x1.f6e844p-9), p, u)
  p = ts_fma(ts_splat(0x1.b1e7bp-5), p, u)
  p = ts_fma(ts_splat(0x1.89185cp-3), p, u)
  p = ts_fma(ts_splat(0x1.20dd72p+0), p, u)
  var q = ts_splat(0x1.40b40cp-15)
  q = ts_fma(ts_splat(0x1.35c8fp-10), q, u)
  q = ts_fma(ts_splat(0x1.ef1938p-7), q, u)
  q = ts_fma(ts_splat(0x1.d60cb2p-4), q, u)
  q = ts_fma(ts_splat(0x1.01c23ep-1), q, u)
  q = ts_fma(ts_splat(1), q, u)
  let half = x * ts_splat(0.5)
  let y = ts_fma(half, half, z * p / q)
  // Beyond the range Phi is 0 to 5e-8, where half an ulp of 1 times x would not be.
  return tl_zero_below(y, x, -5.5)
}

/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x / (1 + exp(-2 ..)).
@inline(__always) func geluTanh(_ x: F) -> F {
  let inner = x * ts_fma(ts_splat(1), x * x, ts_splat(0.044_715))
  let t = ts_max(ts_splat(-126), ts_min(ts_splat(126), inner * ts_splat(-2.302_208_2)))
  return tl_zero_below(x / (ts_splat(1) + ts_exp2(t)), x, -11)
}
