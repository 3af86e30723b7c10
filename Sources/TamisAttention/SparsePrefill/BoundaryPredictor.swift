public import TamisCore
public import TamisDevice

/// DHSA v1's network that marks where a chunk of keys ends (arXiv 2510.24606 v1; `BoundarySimilarityAttn` of the official
/// code): attention within the 2w tokens around each gap, zeros beyond the ends, LayerNorm, the means of the two halves, and
/// an MLP on [left, right, |left - right|, left * right, cosine].
///
/// A token is in 2w windows, but its query, key and value do not depend on which. Nor does, head by head, what the output
/// projection makes of its value: a window's output row is sum_(h, j) a_hj U_hj with U_hj = Wo_h v_hj, since attention is
/// linear in the values. So the projections are done once a token (4 C^2 products instead of 2w * 4 C^2, or of 3 C^2 + 2w C^2
/// with the output projection left in the window), and a window costs (2w)^2 heads C more. LayerNorm follows on the rows
/// themselves.
///
/// Immutable: any thread, any context's backend.
public final class BoundaryPredictor: @unchecked Sendable {
  public let context: Context
  /// C: KV heads times head dim.
  public let width: Int
  /// w: tokens on each side of a gap.
  public let window: Int
  /// Of the window's attention.
  public let heads: Int
  /// h: of the MLP.
  public let hidden: Int
  public let precision: LinearPrecision

  let project, fuse: any LinearProgram
  /// Wo_h, a head's C / heads values to C; the first has the bias, which every row then holds once: weights sum to 1.
  let output: [any LinearProgram]
  let normWeight, normBias, last: [Float]
  let gate: [Float]?
  let lastBias: Float
  static let epsilon: Float = 1e-5

  /// - Parameters:
  ///   - path: a safetensors file, a torch state dict, or a folder that holds `boundary_predictor.safetensors`.
  ///   - heads: 0: what the file says of itself, else 8 as the published code runs it.
  ///   - precision: of the projections and the MLP's first layer.
  /// - Throws: `invalidArgument` for heads that do not divide the width; `notFound`, `io`, `format`; `unsupported` for a
  ///   dtype or a width that the products do not take.
  public init(
    context: Context, path: String, heads: Int = 0, precision: LinearPrecision = .f32
  ) throws(TamisError) {
    try require(heads >= 0, "heads is \(heads); expected at least 0")
    let weights = try BoundaryWeights(path: path)
    let c = weights.width
    let heads = heads > 0 ? heads : weights.heads ?? 8
    try require(c % heads == 0, "heads is \(heads); expected a divisor of the width \(c)")
    self.context = context
    self.heads = heads
    self.precision = precision
    width = c
    hidden = weights.hidden
    window = weights.window ?? 4
    (normWeight, normBias) = (weights.norm.weight.floats(), weights.norm.bias.floats())
    (last, lastBias) = (weights.last.weight.floats(), weights.last.bias!.floats()[0])
    gate = weights.gate?.floats()
    (project, fuse, output) = try context.withLock { () throws(TamisError) in
      let backend = context.backend
      var output: [any LinearProgram] = []
      let d = c / heads
      for h in 0..<heads {
        let part = weights.outProjection.weight.narrowed(1, from: h * d, count: d)
        output.append(
          try backend.makeLinear(
            LinearView(weight: part, bias: h == 0 ? weights.outProjection.bias : nil), precision: precision))
      }
      return (
        try backend.makeLinear(weights.inProjection, precision: precision),
        try backend.makeLinear(weights.fuse, precision: precision), output
      )
    }
    withExtendedLifetime(weights.source) {}
  }

  /// logits[i]: how strongly a chunk ends after token i of k [heads, n, headDim], rotated keys whose heads side by side are
  /// `width` wide. A NaN among the keys of a window makes its logit NaN.
  /// - Throws: `invalidArgument` for another width; `outOfMemory`, `cancelled`.
  public func logits(_ k: TensorView, progress: Progress? = nil) throws(TamisError) -> [Float] {
    try context.withLock { () throws(TamisError) in try logits(k, on: context.backend, progress: progress) }
  }

  /// The same where the lock of the backend's context is held.
  func logits(_ k: TensorView, on backend: any Backend, progress: Progress?) throws(TamisError) -> [Float] {
    try require(
      k.shape[0] * k.shape[2] == width,
      "k has \(k.shape[0]) heads of \(k.shape[2]); expected a width of \(width), the predictor's, in all")
    let n = k.shape[1]
    var logits = [Float](repeating: 0, count: n)
    let blocks = (n + BoundaryBlock.tokens - 1) / BoundaryBlock.tokens
    let workers = min(backend.threads, blocks)
    var scratch: [BoundaryBlock] = []
    for _ in 0..<workers { scratch.append(try BoundaryBlock(self, tokens: min(n, BoundaryBlock.tokens))) }
    try logits.withUnsafeMutableBufferPointer { (logits) throws(TamisError) in
      let home = UncheckedPointer(logits.baseAddress!)
      // A worker takes every `workers`-th block, in memory of its own; between rounds the caller is asked.
      let round = progress == nil ? blocks : 2 * workers
      var done = 0
      while done < blocks {
        let end = min(done + round, blocks)
        backend.parallel(workers) { [done, scratch] worker in
          for block in stride(from: done + worker, to: end, by: workers) {
            let first = block * BoundaryBlock.tokens
            scratch[worker].run(k, first..<min(first + BoundaryBlock.tokens, n), to: home.pointer + first)
          }
        }
        done = end
        if let progress, !progress(Double(done) / Double(blocks)) {
          throw TamisError(.cancelled, "progress returned 0")
        }
      }
    }
    return logits
  }
}
