import CShims
public import TamisCore

/// A post-LN encoder on an OpenCL device: weights packed once, activations there from the embeddings to the last layer. Inputs
/// and products are f32 in every precision; weights are stored as they came where that is smaller than what is asked for.
final class OpenCLEncoder: EncoderProgram {
  let precision: LinearPrecision
  let hidden: Int
  private let backend: OpenCLBackend
  private let heads: Int
  /// Padded to a multiple of 4.
  private let headDim: Int
  private let embedding: Int
  private let intermediate: Int
  private let softmaxScale: Float
  private let epsilon: Float
  private let activation: EncoderActivation
  private let word: OpenCLMatrix
  private let position, type: OpenCLBuffer
  private let embeddingNorm: OpenCLNorm
  private let projection: OpenCLMatrix?
  private let layers: [OpenCLEncoderLayer]
  // Activations; they live between calls.
  private let states, wide, narrow, mixed: OpenCLScratch
  private let ids, places, segments, tileList: OpenCLScratch

  /// Errors: `unsupported` for heads wider than 256; `outOfMemory`, `device`.
  init(_ weights: EncoderWeights, precision: LinearPrecision, _ backend: OpenCLBackend) throws(TamisError) {
    self.precision = precision
    self.backend = backend
    hidden = weights.projection?.weight.shape[0] ?? weights.word.shape[1]
    embedding = weights.word.shape[1]
    heads = weights.heads
    let d = hidden / heads
    guard d <= 256 else { throw TamisError(.unsupported, "head dim is \(d); expected at most 256") }
    headDim = (d + 3) & ~3
    softmaxScale = 1 / Float(d).squareRoot()
    epsilon = weights.epsilon
    activation = weights.activation
    let packer = try OpenCLPacker(backend, precision: precision)
    word = try packer.table(weights.word)
    position = try packer.floats(weights.position)
    type = try packer.floats(weights.type)
    embeddingNorm = try packer.norm(weights.embeddingNorm)
    if let linear = weights.projection { projection = try packer.linear([linear]) } else { projection = nil }
    var layers: [OpenCLEncoderLayer] = []
    for layer in weights.layers { layers.append(try OpenCLEncoderLayer(layer, packer, heads: heads, headDim: headDim)) }
    self.layers = layers
    intermediate = weights.layers.map { $0.intermediate.weight.shape[0] }.max() ?? 0
    states = OpenCLScratch(backend.queue)
    wide = OpenCLScratch(backend.queue)
    narrow = OpenCLScratch(backend.queue)
    mixed = OpenCLScratch(backend.queue)
    ids = OpenCLScratch(backend.queue)
    places = OpenCLScratch(backend.queue)
    segments = OpenCLScratch(backend.queue)
    tileList = OpenCLScratch(backend.queue)
  }

  var byteCount: Int {
    word.bytes + position.bytes + type.bytes + (projection?.bytes ?? 0) + layers.reduce(0) { $0 + $1.bytes }
  }

  func forward(
    _ tokens: RaggedTokens, positions: UnsafePointer<Int32>, types: UnsafePointer<Int32>?,
    into out: UnsafeMutablePointer<Float>, progress: Progress?
  ) throws(TamisError) {
    let n = tokens.ids.count
    if n == 0 { return }
    let tile = PrefillTile(headDim: headDim, localMemoryBytes: backend.queue.device.localMemoryBytes)
    let tiles = Self.tiles(tokens, rows: tile.rows)
    let batch = try upload(tokens.ids, positions, types, tiles)
    let x = try states.reserve(n * max(hidden, embedding) * 4)
    let qkv = try wide.reserve(n * max(3 * heads * headDim, intermediate) * 4)
    let y = try narrow.reserve(n * max(hidden, embedding) * 4)
    let context = try mixed.reserve(n * heads * headDim * 4)
    try embed(batch, n, into: x, scratch: y)
    for (i, layer) in layers.enumerated() {
      try linear(layer.queryKeyValue, x, n, into: qkv)
      try attend(qkv, batch.tiles, tiles.count / 3, tile, into: context)
      try linear(layer.attentionOutput, context, n, into: y)
      try normalise(x, plus: y, n, layer.attentionNorm)
      try linear(layer.intermediate, x, n, activation, into: qkv)
      try linear(layer.output, qkv, n, into: y)
      try normalise(x, plus: y, n, layer.outputNorm)
      if let progress {
        try backend.queue.finish()
        if !progress(Double(i + 1) / Double(layers.count)) { throw TamisError(.cancelled, "progress returned 0") }
      }
    }
    try x.read(out, bytes: n * hidden * 4)
  }

  // MARK: the batch

  private struct Batch {
    var ids, positions, types, tiles: OpenCLBuffer
    var hasTypes: Bool
  }

  /// Tiles of queries of one sequence each: (first query, first token, past the last token).
  private static func tiles(_ tokens: RaggedTokens, rows: Int) -> [Int32] {
    var tiles: [Int32] = []
    for s in 0..<tokens.sequences {
      let (begin, end) = (tokens.starts[s], tokens.starts[s + 1])
      for first in stride(from: begin, to: end, by: rows) { tiles += [Int32(first), Int32(begin), Int32(end)] }
    }
    return tiles
  }

  private func upload(
    _ ids: [Int32], _ positions: UnsafePointer<Int32>, _ types: UnsafePointer<Int32>?, _ tiles: [Int32]
  ) throws(TamisError) -> Batch {
    Batch(
      ids: try write(ids, ids.count, to: self.ids), positions: try write(positions, ids.count, to: places),
      types: try write(types ?? positions, ids.count, to: segments), tiles: try write(tiles, tiles.count, to: tileList),
      hasTypes: types != nil)
  }

  private func write(_ numbers: UnsafePointer<Int32>, _ count: Int, to scratch: OpenCLScratch) throws(TamisError)
    -> OpenCLBuffer
  {
    let buffer = try scratch.reserve(count * 4)
    try buffer.write(numbers, bytes: count * 4)
    return buffer
  }

  // MARK: operations

  private func embed(_ batch: Batch, _ n: Int, into x: OpenCLBuffer, scratch: OpenCLBuffer) throws(TamisError) {
    // The projection reads what the norm wrote, so that one goes to the scratch buffer.
    let to = projection == nil ? x : scratch
    try backend.queue.run(
      try backend.programs.kernel(.embed, "embed", ["WTYPE": Int(word.dtype.rawValue)]), groups: (n, 1, 1), items: 64,
      [
        .buffer(batch.ids), .buffer(batch.positions), .buffer(batch.types), .flag(batch.hasTypes), .buffer(word.weight),
        .buffer(word.scales), .buffer(position), .buffer(type), .int(embedding), .buffer(to),
      ])
    try normalise(to, plus: nil, n, embeddingNorm)
    if let projection { try linear(projection, to, n, into: x) }
  }

  private func linear(
    _ m: OpenCLMatrix, _ x: OpenCLBuffer, _ n: Int, _ activation: EncoderActivation? = nil, into y: OpenCLBuffer
  ) throws(TamisError) {
    let definitions = ["WTYPE": Int(m.dtype.rawValue), "ACT": activation.map { Int($0.rawValue) + 1 } ?? 0]
    try backend.queue.run(
      try backend.programs.kernel(.linear, "linear", definitions), groups: ((m.outputs + 63) / 64, (n + 63) / 64, 1),
      items: 256,
      [
        .buffer(x), .int(n), .int(m.inputs), .buffer(m.weight), .int(m.pitch), .buffer(m.scales), .buffer(m.bias),
        .int(m.outputs), .buffer(y),
      ])
  }

  private func normalise(_ x: OpenCLBuffer, plus y: OpenCLBuffer?, _ n: Int, _ norm: OpenCLNorm) throws(TamisError) {
    try backend.queue.run(
      try backend.programs.kernel(.embed, "layer_norm"), groups: (n, 1, 1), items: 64,
      [
        .buffer(x), .buffer(y ?? x), .flag(y != nil), .int(norm.width), .buffer(norm.weight), .buffer(norm.bias),
        .float(epsilon),
      ])
  }

  private func attend(
    _ qkv: OpenCLBuffer, _ tiles: OpenCLBuffer, _ count: Int, _ tile: PrefillTile, into out: OpenCLBuffer
  ) throws(TamisError) {
    let definitions = ["D": headDim, "BM": tile.rows, "RM": tile.rowsEach, "TK": tile.keys]
    try backend.queue.run(
      try backend.programs.kernel(.attendRagged, "attend_ragged", definitions), groups: (count, heads, 1),
      items: 8 * tile.rows / tile.rowsEach, [.buffer(qkv), .int(heads), .buffer(tiles), .float(softmaxScale), .buffer(out)])
  }
}

extension OpenCLBackend {
  public func makeEncoder(_ weights: EncoderWeights, precision: LinearPrecision) throws(TamisError) -> any EncoderProgram {
    try OpenCLEncoder(weights, precision: precision, self)
  }
}
