public import TamisCore
public import TamisDevice

/// What says how likely each token is worth keeping: an encoder with a two-label head, or a test's table of numbers.
public protocol KeepScorer: AnyObject {
  /// One probability per token of the batch. The value of a token may depend on its own sequence only.
  func keepProbabilities(_ tokens: RaggedTokens, progress: Progress?) throws(TamisError) -> [Float]
  /// Tokens a sequence may have, special tokens included.
  var maxTokens: Int { get }
  /// Ids are 0 ..< vocabularySize.
  var vocabularySize: Int { get }
}

/// What the compressor asks of a tokenizer. Texts are bytes; offsets count bytes of the text as given.
public protocol PieceTokenizer: AnyObject {
  func encode(_ text: UnsafeBufferPointer<UInt8>, _ options: EncodeOptions) throws(TamisError) -> Encoding
  func count(_ text: UnsafeBufferPointer<UInt8>, parseSpecialTokens: Bool) throws(TamisError) -> Int
  /// As the vocabulary spells it: "##ing", "▁The".
  func piece(_ id: Int32) -> [UInt8]?
  func id(ofPiece piece: [UInt8]) -> Int32?
  /// The decoder's text of a list of pieces (convert_tokens_to_string).
  func decode(pieces: [[UInt8]]) -> [UInt8]
  var unknownId: Int32? { get }
  /// Largest id + 1.
  var pieceCount: Int { get }
  var family: PieceFamily { get }
  /// A copy that knows further special tokens, at the next free ids.
  func addingSpecial(_ tokens: [String]) throws(TamisError) -> any PieceTokenizer
  /// Ids that stand before and after one text.
  var template: (prefix: [Int32], suffix: [Int32]) { get }
}

extension PieceTokenizer {
  func encode(_ text: [UInt8], _ options: EncodeOptions) throws(TamisError) -> Encoding {
    try text.withUnsafeBufferPointer { (bytes) throws(TamisError) in try encode(bytes, options) }
  }

  func count(_ text: some Collection<UInt8>) throws(TamisError) -> Int {
    if text.isEmpty { return 0 }
    return try Array(text).withUnsafeBufferPointer { (bytes) throws(TamisError) in try count(bytes, parseSpecialTokens: false) }
  }
}

extension TextEncoder: KeepScorer {
  public var maxTokens: Int { config.maxTokens }
  public var vocabularySize: Int { config.vocabulary }

  /// Softmax of the two labels, label 1.
  public func keepProbabilities(_ tokens: RaggedTokens, progress: Progress?) throws(TamisError) -> [Float] {
    guard config.labels.count == 2 else {
      throw TamisError(
        .unsupported, "encoder has a head of \(config.labels.count) labels; expected 2, of which label 1 is \"keep\"")
    }
    let both = UnsafeMutablePointer<Float>.allocate(capacity: max(1, 2 * tokens.ids.count))
    defer { both.deallocate() }
    try classify(tokens, probabilities: true, into: both, progress: progress)
    return tokens.ids.indices.map { both[2 * $0 + 1] }
  }
}

extension Tokenizer: PieceTokenizer {
  public func id(ofPiece piece: [UInt8]) -> Int32? { id(of: piece) }
  public var pieceCount: Int { vocabularySize }
  public var family: PieceFamily { kind == .wordPiece ? .wordPiece : .sentencePiece }
  public func addingSpecial(_ tokens: [String]) throws(TamisError) -> any PieceTokenizer { try adding(tokens, special: true) }
}
