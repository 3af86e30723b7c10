import CShims
import TamisCore
import TamisDevice

/// The predictor over one run of tokens, and the memory for it: a worker's.
final class BoundaryBlock: @unchecked Sendable {
  /// Tokens of a block; 2w - 1 more are projected for the windows at its ends.
  static let tokens = 256

  private let predictor: BoundaryPredictor
  /// Tokens of a window: 2w.
  private let n: Int
  /// n rounded up to whole vectors.
  private let room: Int
  /// Floats between rows. None is a multiple of 4096 bytes, at which neighbours would fall into one set of the cache.
  private let keyStride, projectedStride, mixedStride, featureStride, hiddenStride: Int
  private let memory: FloatTable
  private let keys, projected, mixed, scores, weights, rows, features, hidden: UnsafeMutablePointer<Float>

  /// - Throws: `outOfMemory`.
  init(_ predictor: BoundaryPredictor, tokens: Int) throws(TamisError) {
    self.predictor = predictor
    n = 2 * predictor.window
    room = (n + 15) & ~15
    func stride(_ count: Int) -> Int { (count + 15) & ~15 | 16 }
    let heads = predictor.heads
    keyStride = stride(predictor.project.paddedInputs)
    projectedStride = stride(predictor.project.paddedOutputs)
    mixedStride = stride(max(predictor.output[0].paddedOutputs, predictor.width))
    featureStride = stride(max(predictor.fuse.paddedInputs, 4 * predictor.width + 1))
    hiddenStride = stride(predictor.fuse.paddedOutputs)
    let count = tokens + n - 1
    let sizes = [
      count * keyStride, count * projectedStride, count * heads * mixedStride, (count * heads + 1) * 2 * room,
      n * heads * room, (n + 7) / 8 * 8 * mixedStride, tokens * featureStride, tokens * hiddenStride,
    ]
    let total = sizes.reduce(0, +)
    memory = try FloatTable(total)
    memory.start.initialize(repeating: 0, count: total)
    var at = memory.start
    let places = sizes.map { size in
      defer { at += size }
      return at
    }
    (keys, projected, mixed, scores) = (places[0], places[1], places[2], places[3])
    (weights, rows, features, hidden) = (places[4], places[5], places[6], places[7])
  }

  /// Logits of tokens `range` of k [heads, n, headDim]. No more tokens than `tokens` of `init`.
  func run(_ k: TensorView, _ range: Range<Int>, to logits: UnsafeMutablePointer<Float>) {
    let p = predictor
    let (c, heads) = (p.width, p.heads)
    let kernels = Kernels.active.pointee.boundaries
    let count = range.count + n - 1
    load(k, from: range.lowerBound - p.window + 1, count: count)
    p.project.apply(keys, stride: keyStride, rows: count, activation: nil, to: projected, stride: projectedStride)
    let d = c / heads
    for h in 0..<heads {
      p.output[h].apply(
        projected + 2 * c + h * d, stride: projectedStride, rows: count, activation: nil, to: mixed + h * mixedStride,
        stride: heads * mixedStride)
    }
    // Softmax to base 2.
    let scale = Float(1.442_695_040_888_963_4 / Double(d).squareRoot())
    kernels.scores(projected, projected + c, projectedStride, count, heads, d, n, room, scale, scores)
    let columns = p.output[0].paddedOutputs
    for i in range.indices {
      let first = i - range.lowerBound
      kernels.weights(scores + first * heads * 2 * room, heads, n, room, weights)
      kernels.mix(
        weights, room, n, n * heads, mixed + first * heads * mixedStride, mixedStride, columns, rows, mixedStride)
      pool(kernels, to: features + first * featureStride)
    }
    p.fuse.apply(
      features, stride: featureStride, rows: range.count, activation: .relu, to: hidden, stride: hiddenStride)
    p.last.withUnsafeBufferPointer { last in
      for i in 0..<range.count {
        logits[i] = kernels.product(hidden + i * hiddenStride, last.baseAddress!, p.hidden) + p.lastBias
      }
    }
  }

  /// Features of `count` tokens from `first` on, zeros where there is none.
  private func load(_ k: TensorView, from first: Int, count: Int) {
    let d = k.shape[2]
    for i in 0..<count {
      let row = keys + i * keyStride
      let t = first + i
      if t >= 0 && t < k.shape[1] {
        for h in 0..<k.shape[0] { k.loadRow(h, t, to: row + h * d, Kernels.active) }
      } else {
        row.update(repeating: 0, count: predictor.width)
      }
    }
  }

  private func pool(_ kernels: tk_boundaries, to features: UnsafeMutablePointer<Float>) {
    let p = predictor
    p.normWeight.withUnsafeBufferPointer { weight in
      p.normBias.withUnsafeBufferPointer { bias in
        let gate = p.gate
        if let gate {
          gate.withUnsafeBufferPointer {
            kernels.pool(
              rows, mixedStride, n, p.width, weight.baseAddress!, bias.baseAddress!, $0.baseAddress!, BoundaryPredictor.epsilon,
              features)
          }
        } else {
          kernels.pool(
            rows, mixedStride, n, p.width, weight.baseAddress!, bias.baseAddress!, nil, BoundaryPredictor.epsilon, features)
        }
      }
    }
  }
}
