import CShims
import TamisCore

/// The kernels of one storage dtype.
struct RowKernels {
  let dot: tk_dot
  let accumulate: tk_accumulate
  let gather: tk_gather
  let turn: tk_turn

  init(_ table: UnsafePointer<tk_table>, _ dtype: DType) {
    switch dtype {
    case .f16: (dot, accumulate, gather, turn) = (
        table.pointee.dot_f16, table.pointee.accumulate_f16, table.pointee.gather_f16, table.pointee.turn_f16)
    case .bf16: (dot, accumulate, gather, turn) = (
        table.pointee.dot_bf16, table.pointee.accumulate_bf16, table.pointee.gather_bf16, table.pointee.turn_bf16)
    case .i8: (dot, accumulate, gather, turn) = (
        table.pointee.dot_i8, table.pointee.accumulate_i8, table.pointee.gather_i8, table.pointee.turn_i8)
    default: (dot, accumulate, gather, turn) = (
        table.pointee.dot_f32, table.pointee.accumulate_f32, table.pointee.gather_f32, table.pointee.turn_f32)
    }
  }
}

extension tk_queries {
  /// Bytes of scratch that `init(count:dim:in:)` takes.
  static func bytes(count: Int, dim: Int) -> Int {
    Scratch.bytes(Float.self, count * dim) + Scratch.bytes(UInt16.self, count * dim) + 2 * Scratch.bytes(Int8.self, count * dim)
      + Scratch.bytes(Int8.self, count * panelBytes(dim)) + 3 * Scratch.bytes(Float.self, count)
  }

  /// Of a panel of four queries or fewer (tamis_kernels.h).
  private static func panelBytes(_ dim: Int) -> Int { (dim + 63) / 64 * 512 }

  init(count: Int, dim: Int, in scratch: Scratch) {
    self.init(
      f32: scratch.take(Float.self, count * dim), bf16: scratch.take(UInt16.self, count * dim),
      i8_high: scratch.take(Int8.self, count * dim), i8_low: scratch.take(Int8.self, count * dim),
      i8_panels: scratch.take(Int8.self, count * Self.panelBytes(dim)),
      i8_scale: scratch.take(Float.self, count), i8_high_sum: scratch.take(Int32.self, count),
      i8_low_sum: scratch.take(Int32.self, count), count: Int32(count), dim: Int32(dim))
  }

  /// Queries [first, first + n) of these, first being a multiple of n, to be prepared by themselves.
  func slice(_ first: Int, _ n: Int) -> tk_queries {
    let d = Int(dim)
    return tk_queries(
      f32: f32! + first * d, bf16: bf16! + first * d, i8_high: i8_high! + first * d, i8_low: i8_low! + first * d,
      i8_panels: i8_panels! + first * Self.panelBytes(d),
      i8_scale: i8_scale! + first, i8_high_sum: i8_high_sum! + first, i8_low_sum: i8_low_sum! + first, count: Int32(n),
      dim: dim)
  }
}
