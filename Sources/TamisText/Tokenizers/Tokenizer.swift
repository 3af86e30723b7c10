public import TamisCore

/// Text to token ids and back, as the file of a published model says. Immutable; any number of threads may use one.
public final class Tokenizer: Sendable {
  let parts: TokenizerParts
  let addedTokens: AddedTokens
  let trimming: OffsetTrimming?
  let pool = ScratchPool()
  /// Largest id + 1, added tokens included.
  public let vocabularySize: Int
  public let specialIds: Set<Int32>

  init(_ parts: TokenizerParts) throws(TamisError) {
    self.parts = parts
    addedTokens = try AddedTokens(parts.added, normalizer: parts.normalizer)
    vocabularySize = max(parts.model.vocabulary.size, Int(parts.added.map(\.id).max() ?? -1) + 1)
    specialIds = Set(parts.added.filter(\.special).map(\.id))
    trimming = parts.postProcessor.trimsOffsets
      ? OffsetTrimming(
        parts.model.vocabulary, added: parts.added, ids: vocabularySize, addsPrefixSpace: parts.postProcessor.addsPrefixSpace)
      : nil
  }

  /// A tokenizer.json in memory.
  public convenience init(json: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    try self.init(try TokenizerJSON.read(json))
  }

  /// - Parameter path: a folder (tokenizer.json, else a SentencePiece .model, else vocab.json and merges.txt, else vocab.txt),
  ///   or one of these files, .tiktoken included.
  /// - Throws: `notFound`, `io`, `format`, `unsupported`.
  public convenience init(path: String) throws(TamisError) {
    try self.init(try TokenizerFiles.open(path))
  }

  /// A file in memory.
  /// - Parameter pattern: of `.tiktoken`: the name of an encoding, or a regular expression.
  public convenience init(
    _ bytes: UnsafeBufferPointer<UInt8>, format: TokenizerFormat, pattern: String? = nil
  ) throws(TamisError) {
    switch format {
    case .json: try self.init(json: bytes)
    case .sentencePiece: try self.init(try SentencePieceFile.read(bytes))
    case .vocabularyText: try self.init(try VocabularyFiles.wordPiece(bytes, lowercase: nil))
    case .tiktoken:
      guard let pattern else {
        throw .invalid("pattern is NULL; expected the name of a tiktoken encoding, or a regular expression")
      }
      let known = Tiktoken.Known(pattern)
      try self.init(try Tiktoken.read(bytes, known?.pattern ?? Array(pattern.utf8), known?.specials ?? []))
    }
  }

  // MARK: vocabulary

  public var kind: TokenizerKind { parts.kind }
  public var isByteLevel: Bool { parts.isByteLevel }
  public var unknownId: Int32? { parts.model.unknownId }
  public var addedTokenCount: Int { parts.added.count }
  /// `max_length` of the file's truncation, which is never applied by itself.
  public var fileTruncation: Int? { parts.truncation }

  /// The padding token of the file, or one of the usual names.
  public var padId: Int32? {
    if let token = parts.padToken, let id = id(of: token) { return id }
    for name in ["[PAD]", "<pad>", "<|pad|>"] {
      if let id = id(of: Array(name.utf8)) { return id }
    }
    return nil
  }

  /// The id of a piece as the vocabulary writes it; added tokens first.
  public func id(of piece: some Collection<UInt8>) -> Int32? {
    let bytes = Array(piece)
    return addedTokens.id(bytes) ?? parts.model.vocabulary.id(bytes)
  }

  /// The piece of an id as the vocabulary writes it ("##ing", "▁The", the printable alphabet of byte-level vocabularies).
  public func piece(_ id: Int32) -> [UInt8]? {
    addedTokens.token(id)?.content ?? parts.model.vocabulary.piece(Int(id))
  }

  /// Ids that the post-processor puts around one text.
  public var template: (prefix: [Int32], suffix: [Int32]) { parts.postProcessor.around }

  /// Numbers of tokens that the template adds to a text, and to a pair of texts.
  public var templateTokens: (single: Int, pair: Int) {
    (PostProcessor.added(parts.postProcessor.single), PostProcessor.added(parts.postProcessor.pair ?? []))
  }

  /// A copy with further added tokens. One that the vocabulary has keeps its id, the others get the next free ids.
  /// - Throws: `invalidArgument` for an empty token or one that is not UTF-8.
  public func adding(_ tokens: [String], special: Bool) throws(TamisError) -> Tokenizer {
    try adding(tokens.map { AddedToken(id: -1, content: Array($0.utf8), normalized: !special, special: special) })
  }

  public func adding(_ tokens: [TokenToAdd]) throws(TamisError) -> Tokenizer { try adding(tokens.map(\.token)) }

  func adding(_ tokens: [AddedToken]) throws(TamisError) -> Tokenizer {
    var parts = parts
    var next = Int32(vocabularySize)
    var places = Dictionary(parts.added.indices.map { (parts.added[$0].content, $0) }) { first, _ in first }
    for (i, var token) in tokens.enumerated() {
      try require(!token.content.isEmpty, "tokens[\(i)] is empty; expected at least one character")
      let valid = token.content.withUnsafeBufferPointer { UTF8Input.validPrefix($0.baseAddress!, $0.count) }
      try require(valid == token.content.count, "tokens[\(i)] is not UTF-8 at byte \(valid)")
      if let place = places[token.content] {
        token.id = parts.added[place].id
        parts.added[place] = token
        continue
      }
      if let id = parts.model.vocabulary.id(token.content) {
        token.id = id
      } else {
        try require(Int(next) < Vocabulary.idLimit, "tokens: more than \(Vocabulary.idLimit) ids")
        token.id = next
        next += 1
      }
      places[token.content] = parts.added.count
      parts.added.append(token)
    }
    return try Tokenizer(parts)
  }

  // MARK: decode

  /// The text of ids by the file's decoders. Ids without a piece give nothing. Bytes that are not UTF-8 are U+FFFD.
  public func decode(_ ids: [Int32], skipSpecialTokens: Bool) -> [UInt8] {
    ids.withUnsafeBufferPointer { decode($0, skipSpecialTokens: skipSpecialTokens) }
  }

  public func decode(_ ids: UnsafeBufferPointer<Int32>, skipSpecialTokens: Bool) -> [UInt8] {
    var run = parts.decoder.run()
    var out: [UInt8] = []
    out.reserveCapacity(4 * ids.count)
    for id in ids {
      if let piece = decodedPiece(id, skipSpecialTokens: skipSpecialTokens) { run.add(piece, into: &out) }
    }
    run.finish(into: &out)
    return out
  }

  /// The decoder chain alone.
  public func decode(pieces: [[UInt8]]) -> [UInt8] {
    var run = parts.decoder.run()
    var out: [UInt8] = []
    for piece in pieces { run.add(piece, into: &out) }
    run.finish(into: &out)
    return out
  }

  func decodedPiece(_ id: Int32, skipSpecialTokens: Bool) -> [UInt8]? {
    if let surface = parts.unknownSurface {
      if id == unknownId { return surface }
      if specialIds.contains(id) { return nil }
    }
    if skipSpecialTokens, specialIds.contains(id) { return nil }
    return addedTokens.decoded(id) ?? parts.model.vocabulary.piece(Int(id))
  }
}

/// Kinds of files in memory; values of the C ABI (TAMIS_TOKENIZER_*).
public enum TokenizerFormat: Int32, Sendable {
  case json = 0
  case sentencePiece, vocabularyText, tiktoken
}

/// A token to add, with how it is looked for (`AddedToken` of a tokenizer.json).
public struct TokenToAdd: Sendable {
  let token: AddedToken

  public init(
    _ content: [UInt8], special: Bool = true, singleWord: Bool = false, leftStrip: Bool = false, rightStrip: Bool = false,
    normalized: Bool = false
  ) {
    token = AddedToken(
      id: -1, content: content, singleWord: singleWord, leftStrip: leftStrip, rightStrip: rightStrip, normalized: normalized,
      special: special)
  }
}

/// Text as ids come, one at a time; what may still change is held back. The texts of a stream joined are the text of its ids.
public struct StreamingDecoder: Sendable {
  public let tokenizer: Tokenizer
  public let skipSpecialTokens: Bool
  private var run: DecodeRun

  public init(_ tokenizer: Tokenizer, skipSpecialTokens: Bool) {
    self.tokenizer = tokenizer
    self.skipSpecialTokens = skipSpecialTokens
    run = tokenizer.parts.decoder.run()
  }

  /// What is certain now that this id has come.
  public mutating func push(_ id: Int32) -> [UInt8] {
    var out: [UInt8] = []
    if let piece = tokenizer.decodedPiece(id, skipSpecialTokens: skipSpecialTokens) { run.add(piece, into: &out) }
    return out
  }

  /// The same, where `deliver` may refuse the text: then its error comes, and the id has not been added.
  public mutating func push(_ id: Int32, deliver: ([UInt8]) throws(TamisError) -> Void) throws(TamisError) {
    let mark = run.mark()
    do throws(TamisError) {
      try deliver(push(id))
    } catch {
      run.rollBack(to: mark)
      throw error
    }
  }

  /// What was held back; the next id starts a new text.
  public mutating func finish() -> [UInt8] {
    var out: [UInt8] = []
    run.finish(into: &out)
    return out
  }

  /// The same, where `deliver` may refuse the text: then its error comes, and everything is still held back.
  public mutating func finish(deliver: ([UInt8]) throws(TamisError) -> Void) throws(TamisError) {
    let held = run
    do throws(TamisError) {
      try deliver(finish())
    } catch {
      run = held
      throw error
    }
  }
}
