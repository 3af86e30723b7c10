/// The rows (last dimension) of a tensor of any number of dimensions, in row-major order.
struct RowWalk {
  let view: TensorView
  private var index: InlineArray<6, Int>

  init(_ view: TensorView) {
    self.view = view
    index = .init(repeating: 0)
  }

  /// Elements of a row, and the step between them.
  var length: Int { view.shape[view.ndim - 1] }
  var step: Int { view.stride[view.ndim - 1] }

  /// Index of the current row along the dimension before the last; 0 for a vector.
  var position: Int { view.ndim > 1 ? index[view.ndim - 2] : 0 }

  var address: UnsafeMutableRawPointer {
    var offset = 0
    for d in 0..<(view.ndim - 1) { offset += index[d] * view.stride[d] }
    return view.data + offset * view.dtype.size
  }

  var scale: UnsafeMutablePointer<Float>? {
    guard let scale = view.scale else { return nil }
    var offset = 0
    for d in 0..<(view.ndim - 1) { offset += index[d] * view.scaleStride[d] }
    return scale + offset
  }

  /// Moves to the next row; false after the last.
  mutating func advance() -> Bool {
    for d in stride(from: view.ndim - 2, through: 0, by: -1) {
      index[d] += 1
      if index[d] < view.shape[d] { return true }
      index[d] = 0
    }
    return false
  }
}

extension TensorView {
  /// Throws `invalidArgument` unless this view has the shape of `other`; both by the names the caller gave them.
  func requireShape(_ name: String, of other: TensorView, _ otherName: String) throws(TamisError) {
    try require(ndim == other.ndim, "\(name) has \(ndim) dimensions; expected \(other.ndim), as \(otherName)")
    for d in 0..<ndim {
      try require(
        shape[d] == other.shape[d], "\(name)->shape[\(d)] is \(shape[d]); expected \(other.shape[d]), as \(otherName)")
    }
  }
}
