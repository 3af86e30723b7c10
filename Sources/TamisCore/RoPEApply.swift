import CShims

extension RoPE {
  /// Rotates x [.., n, headDim] (f32, f16 or bf16) into `out` (same shape, may be x): row t of every leading index stands at
  /// positions[t], or at first + t without positions.
  /// Errors: invalidArgument (shapes, rotaryDims), unsupported (dtype).
  public func apply(
    _ x: TensorView, positions: UnsafePointer<Int64>?, first: Int, out: TensorView
  ) throws(TamisError) {
    if !x.dtype.isFloat || !out.dtype.isFloat {
      throw TamisError(.unsupported, "x is \(x.dtype.name), out is \(out.dtype.name); expected f32, f16 or bf16")
    }
    try require(x.ndim >= 2, "x has \(x.ndim) dimensions; expected [.., n, head_dim]")
    try require(x.ndim == out.ndim, "out has \(out.ndim) dimensions; expected \(x.ndim) as x")
    for i in 0..<x.ndim {
      try require(x.shape[i] == out.shape[i], "out: shape[\(i)] is \(out.shape[i]); expected \(x.shape[i]) as x")
    }
    let d = x.shape[x.ndim - 1]
    let n = x.shape[x.ndim - 2]
    try require(
      isNone || (rotaryDims > 0 && rotaryDims % 2 == 0 && rotaryDims <= d),
      "rotary_dims is \(rotaryDims); expected an even number from 2 to head_dim \(d)")
    let half = isNone ? 0 : rotaryDims / 2
    let table = Kernels.active
    let frequency = UnsafeMutablePointer<Double>.allocate(capacity: max(half, 1))
    let work = UnsafeMutablePointer<Float>.allocate(capacity: d + 2 * half + 1)
    defer {
      frequency.deallocate()
      work.deallocate()
    }
    for i in 0..<half { frequency[i] = self.frequency(i) }
    let (cos, sin) = (work + d, work + d + half)
    for t in 0..<n {
      let position = positions.map { Double($0[t]) } ?? Double(first) + Double(t)
      table.pointee.angles(position, frequency, half, cos, sin)
      let row = x.narrowed(x.ndim - 2, from: t, count: 1)
      row.forEachRow(with: out.narrowed(out.ndim - 2, from: t, count: 1)) { source, _, target, _ in
        RowCopy.load(source, x.dtype, stride: x.stride[x.ndim - 1], scale: 1, count: d, to: work, table)
        if style == .half {
          table.pointee.rotate_half(work, 1, Int32(d), Int32(half), cos, sin, 0)
        } else {
          table.pointee.rotate_interleaved(work, 1, Int32(d), Int32(half), cos, sin, 0)
        }
        RowCopy.store(work, count: d, to: target, out.dtype, stride: out.stride[out.ndim - 1], table)
      }
    }
  }
}
