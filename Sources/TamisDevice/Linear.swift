public import TamisCore

/// A linear layer whose weights are packed once, for one precision. Immutable: tasks of `Backend.parallel` may share it.
///
/// Rows are independent, and a row's sums run in one order whatever stands around it: same bits in any split of the rows.
public protocol LinearProgram: AnyObject, Sendable {
  var precision: LinearPrecision { get }
  var inputs: Int { get }
  var outputs: Int { get }
  /// Elements that are read of a row of x; those from `inputs` on meet zero weights, and must be finite.
  var paddedInputs: Int { get }
  /// Elements that are written of a row of y; those from `outputs` on become 0, or the activation of 0.
  var paddedOutputs: Int { get }
  /// Bytes of packed weights.
  var byteCount: Int { get }

  /// y = act(x W^T + b) for rows in host memory; strides in floats. x and y do not overlap.
  func apply(
    _ x: UnsafePointer<Float>, stride: Int, rows: Int, activation: EncoderActivation?, to y: UnsafeMutablePointer<Float>,
    stride yStride: Int)
}

extension Backend {
  public func makeLinear(_ layer: LinearView, precision: LinearPrecision) throws(TamisError) -> any LinearProgram {
    try HostLinear(layer, precision: precision, Kernels.active) { self.parallel($0, $1) }
  }
}
