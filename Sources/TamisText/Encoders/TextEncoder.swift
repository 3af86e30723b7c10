public import TamisCore
public import TamisDevice

/// A BERT, XLM-RoBERTa or ELECTRA encoder on a device: hidden states, token classes and sentence vectors of ragged batches.
///
/// Thread-safe: calls on one context wait for each other.
public final class TextEncoder: @unchecked Sendable {
  public let config: EncoderConfig
  public let precision: LinearPrecision
  /// How a sentence-transformers folder pools; the mean of others.
  public let pooling: Pooling
  /// Whether such a folder asks for vectors of length 1.
  public let normalises: Bool
  /// Where such a folder cuts its texts (max_seq_length); else `config.maxTokens`.
  public let embedTokens: Int
  public let parameters: Int
  /// Packed weights on the device.
  public var byteCount: Int { program.byteCount }

  let context: Context
  private let program: any EncoderProgram
  private let head: ClassificationHead?

  /// Tokens given to the device at once, at most (a single sequence may be longer).
  private let piece: Int

  /// - Parameters:
  ///   - path: a folder with config.json and model.safetensors, its shards, or pytorch_model.bin.
  ///   - precision: nil: as stored (int8: i8; bf16: bf16; else f32).
  ///   - addedRows: rows appended to the vocabulary, each the mean of the file's.
  /// - Throws: `notFound`, `io`, `format`, `unsupported`, `outOfMemory`, `device`, `cancelled`.
  public convenience init(
    path: String, context: Context, precision: LinearPrecision? = nil, addedRows: Int = 0, progress: Progress? = nil
  ) throws(TamisError) {
    try Self.report(0, progress)
    let model = try EncoderModel(path: path, addedRows: addedRows)
    try Self.report(0.1, progress)
    // The weights are views of the model's files, which must stay mapped while they are packed.
    let program = try withExtendedLifetime(model) { () throws(TamisError) in
      try context.withLock { () throws(TamisError) in
        try context.backend.makeEncoder(model.weights, precision: precision ?? model.stored)
      }
    }
    self.init(model: model, program: program, context: context)
    try Self.report(1, progress)
  }

  /// The views of `model` may go once the program is made.
  init(model: EncoderModel, program: any EncoderProgram, context: Context, piece: Int = 8192) {
    self.piece = piece
    config = model.config
    precision = program.precision
    pooling = model.modules.pooling
    normalises = model.modules.normalise
    embedTokens = min(model.modules.maxTokens ?? model.config.maxTokens, model.config.maxTokens)
    parameters = model.parameters
    head = model.head
    self.program = program
    self.context = context
  }

  /// The last hidden states: [tokens, hidden].
  public func hiddenStates(
    _ tokens: RaggedTokens, types: [Int32]? = nil, into states: UnsafeMutablePointer<Float>, progress: Progress? = nil
  ) throws(TamisError) {
    try forward(tokens, types, progress) { piece, place, n throws(TamisError) in
      (states + place.token * self.config.hidden).update(from: piece, count: n * self.config.hidden)
    }
  }

  /// The classification head: [tokens, labels], logits or probabilities.
  /// - Throws: `unsupported` without a head.
  public func classify(
    _ tokens: RaggedTokens, types: [Int32]? = nil, probabilities: Bool = false, into out: UnsafeMutablePointer<Float>,
    progress: Progress? = nil
  ) throws(TamisError) {
    guard let head else {
      throw TamisError(
        .unsupported, "encoder is a model without a token classification head; expected one with classifier.weight")
    }
    let labels = head.labels.count
    try forward(tokens, types, progress) { piece, place, n throws(TamisError) in
      head.apply(piece, count: n, to: out + place.token * labels)
      if probabilities { head.probabilities(out + place.token * labels, count: n) }
    }
  }

  /// One vector per sequence: [sequences, hidden]; zeros for an empty sequence. nil: as the folder says.
  public func embed(
    _ tokens: RaggedTokens, types: [Int32]? = nil, pooling: Pooling? = nil, normalise: Bool? = nil,
    into out: UnsafeMutablePointer<Float>, progress: Progress? = nil
  ) throws(TamisError) {
    let width = config.hidden
    let (pooling, normalise) = (pooling ?? self.pooling, normalise ?? normalises)
    try forward(tokens, types, progress) { piece, place, _ throws(TamisError) in
      for s in place.sequences {
        let states = piece + (tokens.starts[s] - place.token) * width
        pooling.pool(states, count: tokens.starts[s + 1] - tokens.starts[s], width: width, to: out + s * width)
        if normalise { Pooling.normalise(out + s * width, width: width) }
      }
    }
  }

  // MARK: pieces

  /// Where a piece of a batch begins, and the sequences in it.
  private struct Place {
    var token: Int
    var sequences: Range<Int>
  }

  /// Runs the batch in pieces of whole sequences, so that the device's memory is bounded whatever the batch. `use` gets the
  /// states of a piece, its place and its number of tokens.
  private func forward(
    _ tokens: RaggedTokens, _ types: [Int32]?, _ progress: Progress?,
    use: (UnsafePointer<Float>, Place, Int) throws(TamisError) -> Void
  ) throws(TamisError) {
    try check(tokens, types)
    let total = tokens.ids.count
    try Self.report(0, progress)
    // Never empty, so that a piece without tokens has a place too; its sequences still want their zeros.
    var states: [Float] = [0]
    var first = 0
    while first < tokens.sequences {
      var last = first + 1
      while last < tokens.sequences, tokens.starts[last + 1] - tokens.starts[first] <= piece { last += 1 }
      let range = tokens.starts[first]..<tokens.starts[last]
      if states.count < range.count * config.hidden { states = [Float](repeating: 0, count: range.count * config.hidden) }
      try run(tokens, first..<last, types, into: &states, progress: progress.map { Self.part(range, of: total, $0) })
      let place = Place(token: range.lowerBound, sequences: first..<last)
      try states.withUnsafeBufferPointer { states throws(TamisError) in
        if let base = states.baseAddress { try use(base, place, range.count) }
      }
      first = last
    }
    try Self.report(1, progress)
  }

  private func run(
    _ tokens: RaggedTokens, _ sequences: Range<Int>, _ types: [Int32]?, into states: inout [Float], progress: Progress?
  ) throws(TamisError) {
    let range = tokens.starts[sequences.lowerBound]..<tokens.starts[sequences.upperBound]
    if range.isEmpty { return }
    var piece = RaggedTokens()
    for s in sequences where !tokens[s].isEmpty { piece.append(tokens[s]) }
    let positions = self.positions(of: piece)
    let segments = types.map { Array($0[range]) }
    try states.withUnsafeMutableBufferPointer { states throws(TamisError) in
      guard let base = states.baseAddress else { return }
      try context.withLock { () throws(TamisError) in
        try program.forward(piece, positions: positions, types: segments, into: base, progress: progress)
      }
    }
  }

  private static func report(_ share: Double, _ progress: Progress?) throws(TamisError) {
    if let progress, !progress(share) { throw TamisError(.cancelled, "progress returned 0") }
  }

  private static func part(_ range: Range<Int>, of total: Int, _ progress: @escaping Progress) -> Progress {
    { progress((Double(range.lowerBound) + $0 * Double(range.count)) / Double(total)) }
  }

  /// 0, 1, 2, .. of each sequence; RoBERTa counts from the padding id's row on, over the ids that are no padding, which stay on
  /// it.
  private func positions(of tokens: RaggedTokens) -> [Int32] {
    var positions = [Int32](repeating: 0, count: tokens.ids.count)
    for s in 0..<tokens.sequences {
      var next = Int32(config.firstPosition)
      for i in tokens.starts[s]..<tokens.starts[s + 1] {
        if config.kind == .roberta, tokens.ids[i] == config.padId ?? 1 {
          positions[i] = Int32(config.firstPosition - 1)
        } else {
          positions[i] = next
          next += 1
        }
      }
    }
    return positions
  }

  // MARK: checks

  private func check(_ tokens: RaggedTokens, _ types: [Int32]?) throws(TamisError) {
    try require(
      tokens.starts.first == 0 && tokens.starts.last == tokens.ids.count,
      "tokens.starts runs from \(tokens.starts.first ?? -1) to \(tokens.starts.last ?? -1); expected 0 to \(tokens.ids.count)")
    for s in 0..<tokens.sequences {
      try require(
        tokens.starts[s + 1] >= tokens.starts[s],
        "tokens.starts[\(s + 1)] is \(tokens.starts[s + 1]) after \(tokens.starts[s]); expected ascending offsets")
      let n = tokens.starts[s + 1] - tokens.starts[s]
      try require(n <= config.maxTokens, "tokens: sequence \(s) has \(n) tokens; expected at most \(config.maxTokens)")
    }
    try Self.check(tokens.ids, below: config.vocabulary, "tokens.ids")
    if let types {
      try require(types.count == tokens.ids.count, "tokens.types has \(types.count) values; expected \(tokens.ids.count)")
      try Self.check(types, below: config.types, "tokens.types")
    }
  }

  private static func check(_ values: [Int32], below limit: Int, _ name: StaticString) throws(TamisError) {
    for (i, value) in values.enumerated() where value < 0 || Int(value) >= limit {
      throw .invalid("\(name)[\(i)] is \(value); expected 0 to \(limit - 1)")
    }
  }
}
