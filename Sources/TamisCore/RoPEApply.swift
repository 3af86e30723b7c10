public import CShims

extension RoPE {
  /// Rotates x [.., n, headDim] (f32, f16 or bf16) into out, of the same shape; may be in place. Row t of every leading index
  /// stands at positions[t], or at first + t. Angles in f64, cosines and products in f32.
  /// - Throws: `unsupported` for another dtype, `invalidArgument` when a row is shorter than the rotated part.
  public func apply(_ x: TensorView, positions: UnsafePointer<Int64>?, first: Int, out: TensorView) throws(TamisError) {
    for (view, name) in [(x, "x"), (out, "out")] where !view.dtype.isFloat {
      throw TamisError(.unsupported, "\(name) is \(view.dtype.name); expected f32, f16 or bf16")
    }
    try out.requireShape("out", of: x, "x")
    var source = RowWalk(x)
    var target = RowWalk(out)
    let d = source.length
    let rotary = isNone ? 0 : rotaryDims == 0 ? d : rotaryDims
    try require(rotary <= d && rotary % 2 == 0, "rope.rotary_dims is \(rotary); expected an even number up to the \(d) of x")
    let half = rotary / 2
    let table = Kernels.active
    let rule = RoPE(style: style, rotaryDims: rotary, base: base, scale: scale)
    let room = UnsafeMutablePointer<Float>.allocate(capacity: d + 2 * half + 1)
    let frequency = UnsafeMutablePointer<Double>.allocate(capacity: half + 1)
    defer {
      room.deallocate()
      frequency.deallocate()
    }
    let (cosines, sines) = (room + d, room + d + half)
    for i in 0..<half { frequency[i] = rule.frequency(i) }
    repeat {
      TensorRows.load(source.address, x.dtype, stride: source.step, scale: 1, count: d, to: room, table)
      if half > 0 {
        // As doubles: a position near Int64.max must not overflow, and has no meaningful angle anyway.
        let position = positions.map { Double($0[source.position]) } ?? Double(first) + Double(source.position)
        table.pointee.angles(position, frequency, half, cosines, sines)
        style.turn(room, d, half, cosines, sines, table)
      }
      TensorRows.store(room, count: d, to: target.address, out.dtype, stride: target.step, table)
    } while source.advance() && target.advance()
  }
}

extension RoPE.Style {
  /// Turns a row of d floats in place: pair i, i < half, by the angle whose cosine and sine are c[i] and s[i].
  public func turn(
    _ x: UnsafeMutablePointer<Float>, _ d: Int, _ half: Int, _ c: UnsafePointer<Float>, _ s: UnsafePointer<Float>,
    _ table: UnsafePointer<tk_table>
  ) {
    if self == .half {
      table.pointee.rotate_half(x, 1, Int32(d), Int32(half), c, s, 0)
    } else {
      table.pointee.rotate_interleaved(x, 1, Int32(d), Int32(half), c, s, 0)
    }
  }
}
