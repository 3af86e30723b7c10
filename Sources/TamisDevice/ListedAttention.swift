public import TamisCore

/// Backends without attention over listed rows of tensors, and without column sums.
extension Backend {
  public func attend(
    q: TensorView, k: TensorView, v: TensorView, tokens: UnsafeBufferPointer<Int32>, rule: AttentionRule, mask: DenseMask,
    out: TensorView, lse: TensorView?
  ) throws(TamisError) {
    throw TamisError(.unsupported, "context: \(name) does not attend listed rows of tensors; expected a CPU context")
  }

  public func addColumnSums(
    q: TensorView, k: TensorView, rule: AttentionRule, mask: DenseMask, lse: TensorView, heads: [Int],
    to sums: UnsafeMutablePointer<Double>, stride: Int, progress: Progress?
  ) throws(TamisError) {
    throw TamisError(.unsupported, "context: \(name) does not add up columns of attention weights; expected a CPU context")
  }
}
