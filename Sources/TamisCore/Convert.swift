import CShims

/// Conversion between dtypes over tensors of any strides (`tamis_convert`).
public enum Convert {
  /// Copies `from` into `to` (same shape): f32, f16, bf16 and i8 in any pair, nearest even; f16 overflow gives infinity, NaN
  /// stays NaN. To i8 each row's scale is max|x| / 127 over its finite values, written through `to.scale`; i8 to i8 keeps bits
  /// and scale; what is not finite becomes 0.
  /// Errors: invalidArgument (shapes differ, i8 without a scale to write or with a strided row), unsupported (i32).
  public static func copy(from: TensorView, to: TensorView) throws(TamisError) {
    if from.dtype == .i32 || to.dtype == .i32 {
      throw TamisError(.unsupported, "dtype is i32; expected f32, f16, bf16 or i8")
    }
    try require(from.ndim == to.ndim, "to has \(to.ndim) dimensions; expected \(from.ndim) as `from`")
    for i in 0..<from.ndim {
      try require(from.shape[i] == to.shape[i], "to: shape[\(i)] is \(to.shape[i]); expected \(from.shape[i]) as `from`")
    }
    try require(to.dtype != .i8 || to.scale != nil, "to: scale is NULL; an i8 tensor needs room for the scales of its rows")
    let n = from.ndim == 0 ? 1 : from.shape[from.ndim - 1]
    let table = Kernels.active
    let row = UnsafeMutablePointer<Float>.allocate(capacity: max(n, 1))
    let bytes = UnsafeMutablePointer<Int8>.allocate(capacity: max(n, 1))
    defer {
      row.deallocate()
      bytes.deallocate()
    }
    from.forEachRow(with: to) { source, scale, target, targetScale in
      let (ss, ts) = from.ndim == 0 ? (1, 1) : (from.stride[from.ndim - 1], to.stride[to.ndim - 1])
      if from.dtype == to.dtype && ss == 1 && ts == 1 {
        target.copyMemory(from: source, byteCount: n * to.dtype.size)
        if to.dtype == .i8 { targetScale!.pointee = scale }
        return
      }
      if from.dtype == .i8 && to.dtype == .i8 {
        for i in 0..<n { target.storeBytes(of: source.load(fromByteOffset: i * ss, as: Int8.self), toByteOffset: i * ts, as: Int8.self) }
        targetScale!.pointee = scale
        return
      }
      RowCopy.load(source, from.dtype, stride: ss, scale: scale, count: n, to: row, table)
      if to.dtype == .i8 {
        targetScale!.pointee = table.pointee.f32_to_i8(row, bytes, n)
        for i in 0..<n { target.storeBytes(of: bytes[i], toByteOffset: i * ts, as: Int8.self) }
      } else {
        RowCopy.store(row, count: n, to: target, to.dtype, stride: ts, table)
      }
    }
  }
}

/// One row of a tensor to and from f32, whatever its dtype and the stride between its elements.
public enum RowCopy {
  public static func load(
    _ from: UnsafeRawPointer, _ dtype: DType, stride: Int, scale: Float, count n: Int, to: UnsafeMutablePointer<Float>,
    _ table: UnsafePointer<tk_table>
  ) {
    if stride == 1 {
      switch dtype {
      case .f16: table.pointee.f16_to_f32(from.assumingMemoryBound(to: UInt16.self), to, n)
      case .bf16: table.pointee.bf16_to_f32(from.assumingMemoryBound(to: UInt16.self), to, n)
      case .i8: table.pointee.i8_to_f32(from.assumingMemoryBound(to: Int8.self), scale, to, n)
      default: to.update(from: from.assumingMemoryBound(to: Float.self), count: n)
      }
      return
    }
    for i in 0..<n { load(from + i * stride * dtype.size, dtype, stride: 1, scale: scale, count: 1, to: to + i, table) }
  }

  /// To f32, f16 or bf16.
  public static func store(
    _ from: UnsafePointer<Float>, count n: Int, to: UnsafeMutableRawPointer, _ dtype: DType, stride: Int,
    _ table: UnsafePointer<tk_table>
  ) {
    if stride == 1 {
      switch dtype {
      case .f16: table.pointee.f32_to_f16(from, to.assumingMemoryBound(to: UInt16.self), n)
      case .bf16: table.pointee.f32_to_bf16(from, to.assumingMemoryBound(to: UInt16.self), n)
      default: to.assumingMemoryBound(to: Float.self).update(from: from, count: n)
      }
      return
    }
    for i in 0..<n { store(from + i, count: 1, to: to + i * stride * dtype.size, dtype, stride: 1, table) }
  }
}

extension TensorView {
  /// Every row (last dimension) of this and of `other`, which has the same shape, in order: addresses and scales.
  func forEachRow(
    with other: TensorView, _ body: (UnsafeMutableRawPointer, Float, UnsafeMutableRawPointer, UnsafeMutablePointer<Float>?) -> Void
  ) {
    for i in 0..<ndim where shape[i] == 0 { return }
    let outer = max(ndim - 1, 0)
    var index = InlineArray<6, Int>(repeating: 0)
    while true {
      var a = 0
      var b = 0
      var sa = 0
      var sb = 0
      for i in 0..<outer {
        a += index[i] * stride[i]
        b += index[i] * other.stride[i]
        sa += index[i] * scaleStride[i]
        sb += index[i] * other.scaleStride[i]
      }
      body(data + a * dtype.size, scale.map { $0[sa] } ?? 1, other.data + b * other.dtype.size, other.scale.map { $0 + sb })
      var i = outer - 1
      while i >= 0 {
        index[i] += 1
        if index[i] < shape[i] { break }
        index[i] = 0
        i -= 1
      }
      if i < 0 { return }
    }
  }
}
