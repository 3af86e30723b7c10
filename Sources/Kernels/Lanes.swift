// Names for the level's vector and for loading a row's elements as f32. `kind` arguments (0 f32, 1 f16, 2 bf16, 3 i8) are
// literals at every call, so the branches fold away once everything is inlined.
import CShims

#if ISA_V4 || ISA_V4X
typealias F = SIMD16<Float>
typealias U = SIMD16<UInt32>
let lanes = 16
#else
typealias F = SIMD8<Float>
typealias U = SIMD8<UInt32>
let lanes = 8
#endif

typealias Rows = UnsafePointer<tk_rows>
typealias Queries = UnsafePointer<tk_queries>
typealias Floats = UnsafeMutablePointer<Float>

@inline(__always) func elementSize(_ kind: Int) -> Int { kind == 0 ? 4 : kind == 3 ? 1 : 2 }

/// Elements i ..< i + lanes of a row as f32 (i8 without its scale).
@inline(__always) func load(_ kind: Int, _ row: UnsafeRawPointer, _ i: Int) -> F {
  if kind == 0 { return ts_load_f32(row + i &* 4) }
  if kind == 1 { return ts_load_f16(row + i &* 2) }
  if kind == 2 { return ts_load_bf16(row + i &* 2) }
  return ts_load_i8(row + i)
}

/// The last eight elements of a row whose length is not a multiple of `lanes`, zeros above.
@inline(__always) func loadHalf(_ kind: Int, _ row: UnsafeRawPointer, _ i: Int) -> F {
  if kind == 0 { return ts_load_half_f32(row + i &* 4) }
  if kind == 1 { return ts_load_half_f16(row + i &* 2) }
  if kind == 2 { return ts_load_half_bf16(row + i &* 2) }
  return ts_load_half_i8(row + i)
}

@inline(__always) func rowNumber(_ r: tk_rows, _ t: Int) -> Int {
  if let rows = r.rows { return Int(rows[t]) }
  return t
}

@inline(__always) func rowAddress(_ kind: Int, _ r: tk_rows, _ t: Int) -> UnsafeRawPointer {
  r.base.unsafelyUnwrapped + rowNumber(r, t) &* r.stride &* elementSize(kind)
}

@inline(__always) func rowScale(_ r: tk_rows, _ t: Int) -> Float {
  if let scale = r.scale { return scale[rowNumber(r, t) &* r.scale_stride] }
  return 1
}

/// The row to bring near while row t is worked on; any mapped or unmapped address will do for a prefetch.
@inline(__always) func aheadRow(_ kind: Int, _ r: tk_rows, _ t: Int) -> UnsafeRawPointer {
  if let ahead = r.ahead {
    return rowAddress(kind, ahead.pointee, t < r.ahead_count ? t : r.ahead_count &- 1)
  }
  return rowAddress(kind, r, t)
}
