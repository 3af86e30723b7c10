public import CShims

/// Rows of tensors to and from f32, whatever their dtype and strides.
public enum TensorRows {
  /// One row of d elements with a stride between them.
  public static func load(
    _ from: UnsafeRawPointer, _ dtype: DType, stride: Int, scale: Float, count d: Int, to: UnsafeMutablePointer<Float>,
    _ table: UnsafePointer<tk_table>
  ) {
    if stride == 1 {
      switch dtype {
      case .f16: table.pointee.f16_to_f32(from.assumingMemoryBound(to: UInt16.self), to, d)
      case .bf16: table.pointee.bf16_to_f32(from.assumingMemoryBound(to: UInt16.self), to, d)
      case .i8: table.pointee.i8_to_f32(from.assumingMemoryBound(to: Int8.self), scale, to, d)
      default: to.update(from: from.assumingMemoryBound(to: Float.self), count: d)
      }
      return
    }
    for i in 0..<d {
      load(from + i * stride * dtype.size, dtype, stride: 1, scale: scale, count: 1, to: to + i, table)
    }
  }

  /// One row of f32 to f32, f16 or bf16 elements with a stride between them.
  public static func store(
    _ from: UnsafePointer<Float>, count d: Int, to: UnsafeMutableRawPointer, _ dtype: DType, stride: Int,
    _ table: UnsafePointer<tk_table>
  ) {
    if stride == 1 {
      switch dtype {
      case .f16: table.pointee.f32_to_f16(from, to.assumingMemoryBound(to: UInt16.self), d)
      case .bf16: table.pointee.f32_to_bf16(from, to.assumingMemoryBound(to: UInt16.self), d)
      default: to.assumingMemoryBound(to: Float.self).update(from: from, count: d)
      }
      return
    }
    for i in 0..<d { store(from + i, count: 1, to: to + i * stride * dtype.size, dtype, stride: 1, table) }
  }
}

extension TensorView {
  /// Row (h, t) of a [heads, n, d] view as f32.
  public func loadRow(_ h: Int, _ t: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
    TensorRows.load(row(h, t), dtype, stride: stride[2], scale: rowScale(h, t), count: shape[2], to: to, table)
  }

  /// Rows [t, t + count) of head h of a [heads, n, d] view as f32 [count][d].
  public func loadRows(_ h: Int, _ t: Int, count: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
    let d = shape[2]
    if stride[2] != 1 || d % 8 != 0 || d > 256 {
      for i in 0..<count { loadRow(h, t + i, to: to + i * d, table) }
      return
    }
    var rows = tk_rows(
      base: UnsafeRawPointer(row(h, t)), rows: nil, stride: stride[1],
      scale: dtype == .i8 ? scale.map { UnsafePointer($0 + h * scaleStride[0] + t * scaleStride[1]) } : nil,
      scale_stride: scaleStride[1], ahead: nil, ahead_count: 0)
    let gather =
      switch dtype {
      case .f16: table.pointee.gather_f16
      case .bf16: table.pointee.gather_bf16
      case .i8: table.pointee.gather_i8
      default: table.pointee.gather_f32
      }
    gather(&rows, count, Int32(truncatingIfNeeded: d), to)
  }

  /// Writes row (h, t) of a [heads, n, d] view from f32.
  public func storeRow(_ h: Int, _ t: Int, from: UnsafePointer<Float>, _ table: UnsafePointer<tk_table>) {
    TensorRows.store(from, count: shape[2], to: row(h, t), dtype, stride: stride[2], table)
  }

  /// Row i of a [n, width] view as f32.
  public func loadMatrixRow(_ i: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
    TensorRows.load(
      data + i * stride[0] * dtype.size, dtype, stride: stride[1], scale: matrixRowScale(i), count: shape[1], to: to, table)
  }

  /// 1 where there are no scales.
  public func matrixRowScale(_ i: Int) -> Float { scale.map { $0[i * scaleStride[0]] } ?? 1 }
}
