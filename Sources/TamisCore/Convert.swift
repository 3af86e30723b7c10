/// Conversion between the storage dtypes: `tamis_convert`.
public enum Convert {
  /// Copies `from` into `to`, of the same shape, rounding to nearest even. To i8 the scale of each row becomes
  /// max|x| / 127 over its finite values and is written to `to.scale`, which must not be nil.
  /// - Throws: `invalidArgument` when shapes differ or an i8 target has nowhere to put its scales; `unsupported` for i32.
  public static func copy(from: TensorView, to: TensorView) throws(TamisError) {
    if from.dtype == .i32 || to.dtype == .i32 {
      throw TamisError(.unsupported, "from is \(from.dtype.name) and to is \(to.dtype.name); i32 is not converted")
    }
    try to.requireShape("to", of: from, "from")
    try require(to.dtype != .i8 || to.scale != nil, "to->scale is NULL; expected room for one f32 per row")
    let table = Kernels.active
    var source = RowWalk(from)
    var target = RowWalk(to)
    let n = source.length
    let row = UnsafeMutablePointer<Float>.allocate(capacity: max(n, 1))
    let levels = UnsafeMutablePointer<Int8>.allocate(capacity: max(n, 1))
    defer {
      row.deallocate()
      levels.deallocate()
    }
    repeat {
      let scale = source.scale?.pointee ?? 1
      if from.dtype == .i8 && to.dtype == .i8 {
        // Bits and scale as they are: no second rounding.
        copyLevels(source.address, source.step, to: target.address, target.step, n)
        target.scale?.pointee = scale
      } else {
        TensorRows.load(source.address, from.dtype, stride: source.step, scale: scale, count: n, to: row, table)
        if to.dtype == .i8 {
          target.scale?.pointee = table.pointee.f32_to_i8(row, levels, n)
          copyLevels(levels, 1, to: target.address, target.step, n)
        } else {
          TensorRows.store(row, count: n, to: target.address, to.dtype, stride: target.step, table)
        }
      }
    } while source.advance() && target.advance()
  }

  private static func copyLevels(
    _ from: UnsafeRawPointer, _ fromStep: Int, to: UnsafeMutableRawPointer, _ toStep: Int, _ n: Int
  ) {
    for i in 0..<n {
      to.storeBytes(of: from.load(fromByteOffset: i * fromStep, as: Int8.self), toByteOffset: i * toStep, as: Int8.self)
    }
  }
}
