public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

extension Dense {
  /// Attention over a union of disjoint sets of keys from attention over each (FlashAttention-2, arXiv 2307.08691, section
  /// 3.1):
  ///
  ///     lse = log sum_s exp(lse_s),   o = sum_s exp(lse_s - lse) o_s
  ///
  /// - Parameters:
  ///   - parts: tensors of one shape [.., rows, headDim], f32; `lse` their [.., rows], f32.
  ///   - out: may be one of the parts, `outLSE` one of theirs. A part with lse -inf contributes nothing; all -inf give 0, -inf.
  /// - Throws: `invalidArgument`.
  public static func merge(
    _ context: Context, parts: [TensorView], lse: [TensorView], out: TensorView, outLSE: TensorView
  ) throws(TamisError) {
    try require(!parts.isEmpty, "n is 0; expected at least one part")
    try require(lse.count == parts.count, "part_lse has \(lse.count) tensors; expected one per part (\(parts.count))")
    try require(
      (1...TensorView.maxDims).contains(out.ndim), "out has \(out.ndim) dimensions; expected 1 to \(TensorView.maxDims)")
    for (s, part) in parts.enumerated() { try check(part, "parts[\(s)]", like: out, dims: out.ndim) }
    for (s, l) in lse.enumerated() { try check(l, "part_lse[\(s)]", like: out, dims: out.ndim - 1) }
    try check(out, "out", like: out, dims: out.ndim)
    try check(outLSE, "lse", like: out, dims: out.ndim - 1)
    // Row by row, and within a row element by element: whatever is written has been read by then.
    var weights = [Double](repeating: 0, count: parts.count)
    var index = InlineArray<6, Int>(repeating: 0)
    let rowDims = out.ndim - 1
    for i in 0..<out.ndim where out.shape[i] == 0 { return }
    while true {
      mergeRow(parts, lse, out, outLSE, at: index, rowDims, &weights)
      var i = rowDims - 1
      while i >= 0 {
        index[i] += 1
        if index[i] < out.shape[i] { break }
        index[i] = 0
        i -= 1
      }
      if i < 0 { return }
    }
  }

  private static func mergeRow(
    _ parts: [TensorView], _ lse: [TensorView], _ out: TensorView, _ outLSE: TensorView, at index: InlineArray<6, Int>,
    _ dims: Int, _ weights: inout [Double]
  ) {
    var top = -Double.infinity
    for s in parts.indices {
      weights[s] = Double(address(lse[s], index, dims).pointee)
      // Not max(): NaN must win and stay, so that it reaches the result.
      if !(weights[s] <= top) && !top.isNaN { top = weights[s] }
    }
    var sum = 0.0
    if top != -.infinity { for s in parts.indices { sum += exp(weights[s] - top) } }
    let total = top == -.infinity ? top : top + log(sum)
    for s in parts.indices { weights[s] = weights[s] == -.infinity ? 0 : exp(weights[s] - total) }
    let row = address(out, index, dims)
    let step = out.stride[dims]
    for i in 0..<out.shape[dims] {
      var value = 0.0
      for s in parts.indices where weights[s] != 0 {
        value += weights[s] * Double(address(parts[s], index, dims)[i * parts[s].stride[dims]])
      }
      row[i * step] = Float(value)
    }
    address(outLSE, index, dims).pointee = Float(total)
  }

  private static func address(_ x: TensorView, _ index: InlineArray<6, Int>, _ dims: Int) -> UnsafeMutablePointer<Float> {
    var offset = 0
    for i in 0..<dims { offset += index[i] * x.stride[i] }
    return x.data.assumingMemoryBound(to: Float.self) + offset
  }

  private static func check(_ x: TensorView, _ name: String, like out: TensorView, dims: Int) throws(TamisError) {
    try require(x.dtype == .f32, "\(name) is \(x.dtype.name); expected f32")
    try require(x.ndim == dims, "\(name) has \(x.ndim) dimensions; expected \(dims)")
    for i in 0..<dims {
      try require(x.shape[i] == out.shape[i], "\(name): shape[\(i)] is \(x.shape[i]); expected \(out.shape[i]) as in out")
    }
  }
}
