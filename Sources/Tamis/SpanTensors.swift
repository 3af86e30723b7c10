extension Span where Element == Float {
  /// Lends the elements as a row-major f32 tensor for the time of the call. For inputs only: the view must not be written.
  /// - Throws: `invalidArgument` when the shape does not hold exactly this many elements, one at least.
  public func withTensor<R>(_ shape: [Int], _ body: (TensorView) throws(TamisError) -> R) throws(TamisError) -> R {
    try check(shape: shape, count: count)
    return try withUnsafeBufferPointer { (buffer) throws(TamisError) in
      try body(TensorView(UnsafeMutableRawPointer(mutating: buffer.baseAddress!), .f32, shape: shape))
    }
  }
}

extension MutableSpan where Element == Float {
  /// Lends the elements as a row-major f32 tensor that may be written, for the time of the call.
  /// - Throws: `invalidArgument` when the shape does not hold exactly this many elements, one at least.
  public mutating func withTensor<R>(_ shape: [Int], _ body: (TensorView) throws(TamisError) -> R) throws(TamisError) -> R {
    try check(shape: shape, count: count)
    return try withUnsafeMutableBufferPointer { (buffer) throws(TamisError) in
      try body(TensorView(UnsafeMutableRawPointer(buffer.baseAddress!), .f32, shape: shape))
    }
  }
}

private func check(shape: [Int], count: Int) throws(TamisError) {
  try require(
    (1...TensorView.maxDims).contains(shape.count), "shape has \(shape.count) dimensions; expected 1 to \(TensorView.maxDims)")
  var product = 1
  for size in shape {
    try require(size > 0, "shape is \(shape); expected sizes above 0")
    let (next, overflow) = product.multipliedReportingOverflow(by: size)
    try require(!overflow, "shape is \(shape); its product is beyond Int")
    product = next
  }
  try require(product == count, "the span holds \(count) elements; expected \(product) for shape \(shape)")
}
