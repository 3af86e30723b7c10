import CShims
public import TamisCore

/// The packed encoder: whole sequences in groups, each group through all layers. Between two attentions every row is on its
/// own, so a task takes a block of rows from the context to the next layer's queries, keys and values with everything in its
/// caches (`EncoderPass`). No pads are computed, and a row's sums run in one order whatever stands around it: same bits in any
/// batch and on any number of threads.
final class CPUEncoder: EncoderProgram {
  /// Tokens of a group, unless one sequence alone is longer: weights are read once per group.
  static let groupTokens = 2048

  let precision: LinearPrecision
  let hidden: Int
  let heads: Int
  /// Padded to a multiple of 8.
  let headDim: Int
  let epsilon: Float
  let activation: EncoderActivation
  let softmaxScale: Float
  let backend: CPUBackend
  let word, position, type: EmbeddingRows
  let embeddingNorm: PackedNorm
  let projection: PackedLinear?
  let layers: [PackedLayer]

  /// What lives from region to region of a group.
  private let memory = Scratch()

  /// - Throws: `unsupported` for heads wider than 256, or int8 products of more than 2^16 inputs, which int32 sums could not
  ///   hold.
  init(_ weights: EncoderWeights, precision: LinearPrecision, _ backend: CPUBackend) throws(TamisError) {
    let table = backend.kernels
    self.precision = precision
    self.backend = backend
    hidden = weights.projection?.weight.shape[0] ?? weights.word.shape[1]
    heads = weights.heads
    let d = hidden / heads
    if d > 256 { throw TamisError(.unsupported, "head dim is \(d); expected at most 256") }
    let inputs = weights.layers.reduce(hidden) { max($0, $1.output.weight.shape[1]) }
    if precision == .i8 && inputs > 1 << 16 {
      throw TamisError(.unsupported, "hidden or intermediate size is \(inputs); int8 products take at most 65536")
    }
    headDim = (d + 7) & ~7
    softmaxScale = 1 / Float(d).squareRoot()
    epsilon = weights.epsilon
    activation = weights.activation
    word = EmbeddingRows(weights.word)
    position = EmbeddingRows(weights.position)
    type = EmbeddingRows(weights.type)
    embeddingNorm = PackedNorm(weights.embeddingNorm, table)
    projection = weights.projection.map { PackedLinear($0, precision: precision, backend) }
    layers = weights.layers.map { [heads, headDim] in
      PackedLayer($0, heads: heads, headDim: headDim, precision: precision, backend)
    }
  }

  var byteCount: Int { (projection?.byteCount ?? 0) + layers.reduce(0) { $0 + $1.byteCount } }

  func forward(
    _ tokens: RaggedTokens, positions: UnsafePointer<Int32>, types: UnsafePointer<Int32>?,
    into states: UnsafeMutablePointer<Float>, progress: Progress?
  ) throws(TamisError) {
    let total = tokens.ids.count
    backend.levelScratch()
    var sequence = 0
    while sequence < tokens.sequences {
      let first = tokens.starts[sequence]
      var end = sequence + 1
      while end < tokens.sequences && tokens.starts[end + 1] - first <= Self.groupTokens { end += 1 }
      let count = tokens.starts[end] - first
      if count > 0 {
        try run(tokens, sequence..<end, positions, types, states) { layer in
          guard let progress else { return true }
          let share = Double(layer) / Double(max(layers.count, 1))
          return progress((Double(first) + share * Double(count)) / Double(total))
        }
      }
      sequence = end
    }
  }

  private func run(
    _ tokens: RaggedTokens, _ sequences: Range<Int>, _ positions: UnsafePointer<Int32>, _ types: UnsafePointer<Int32>?,
    _ states: UnsafeMutablePointer<Float>, _ goesOn: (_ layersDone: Int) -> Bool
  ) throws(TamisError) {
    let first = tokens.starts[sequences.lowerBound]
    let count = tokens.starts[sequences.upperBound] - first
    var stopped = false
    tokens.ids.withUnsafeBufferPointer { ids in
      var pass = EncoderPass(
        self, memory, count: count, ids: ids.baseAddress! + first, positions: positions + first,
        types: types.map { $0 + first }, states: states + first * hidden)
      let attention = AttentionRegion(
        sequences.compactMap { s in
          let range = tokens.starts[s] - first..<tokens.starts[s + 1] - first
          return range.isEmpty ? nil : pass.attention(range)
        }, backend.workers)
      withUnsafePointer(to: pass) {
        backend.pool.run(pass.rowTasks, $0) { $0.assumingMemoryBound(to: EncoderPass.self).pointee.embed($1, $2) }
      }
      for layer in layers.indices {
        pass.layer = layer
        withUnsafePointer(to: attention) {
          backend.pool.run(attention.taskCount, $0) { $0.assumingMemoryBound(to: AttentionRegion.self).pointee.run($1, $2) }
        }
        withUnsafePointer(to: pass) {
          backend.pool.run(pass.rowTasks, $0) { $0.assumingMemoryBound(to: EncoderPass.self).pointee.transform($1, $2) }
        }
        stopped = !goesOn(layer + 1)
        if stopped { return }
      }
    }
    if stopped { throw TamisError(.cancelled, "progress returned 0") }
  }
}

extension CPUBackend {
  public func makeEncoder(_ weights: EncoderWeights, precision: LinearPrecision) throws(TamisError) -> any EncoderProgram {
    try CPUEncoder(weights, precision: precision, self)
  }
}
