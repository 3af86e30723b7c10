import TamisCore

/// What a tokenizer is made of, whichever file it came from.
struct TokenizerParts {
  var model: any TokenModel
  var kind: TokenizerKind
  var added: [AddedToken] = []
  var normalizer: (any Normalizer)?
  var preTokenizer: (any PreTokenizer)?
  var postProcessor = PostProcessor()
  var decoder = DecoderChain([])
  var isByteLevel = false
  var truncation: Int?
  var padToken: [UInt8]?
  /// Words begin at U+2581 instead of at pre-tokens: SentencePiece has none.
  var countsWordsByMetaspace = false
  /// What the unknown token decodes to, where it is not its piece.
  var unknownSurface: [UInt8]?
}

/// Values of the C ABI (TAMIS_MODEL_*).
public enum TokenizerKind: Int32, Sendable {
  case bpe = 0
  case wordPiece, unigram, wordLevel
}

/// Reads a tokenizer.json (Hugging Face tokenizers) in one pass: vocabulary and merges into flat arrays, the rest as small
/// trees.
struct TokenizerJSON {
  private var model = ModelText()
  private var added: [AddedToken] = []
  private var normalizer: JSON?
  private var preTokenizer: JSON?
  private var postProcessor: JSON?
  private var decoder: JSON?
  private var truncation: JSON?
  private var padding: JSON?

  static func read(_ text: UnsafeBufferPointer<UInt8>) throws(TamisError) -> TokenizerParts {
    var file = TokenizerJSON()
    var scanner = try JSONScanner(text)
    var hasModel = false
    try scanner.object { (scanner) throws(TamisError) in
      switch String(decoding: scanner.bytes, as: UTF8.self) {
      case "version":
        try scanner.string()
        guard scanner.bytes == Array("1.0".utf8) else {
          let version = String(decoding: scanner.bytes, as: UTF8.self)
          throw TamisError(.unsupported, "tokenizer.json: version \(version); expected 1.0")
        }
      case "model":
        if hasModel { throw scanner.broken("the name \"model\" stands twice") }
        hasModel = true
        try file.model.read(&scanner)
      case "added_tokens": try file.readAdded(&scanner)
      case "normalizer": file.normalizer = try scanner.tree()
      case "pre_tokenizer": file.preTokenizer = try scanner.tree()
      case "post_processor": file.postProcessor = try scanner.tree()
      case "decoder": file.decoder = try scanner.tree()
      case "truncation": file.truncation = try scanner.tree()
      case "padding": file.padding = try scanner.tree()
      default: _ = try scanner.skip()
      }
    }
    try scanner.end()
    guard hasModel else { throw TamisError(.format, "tokenizer.json: no model") }
    return try file.parts(text)
  }

  private mutating func readAdded(_ scanner: inout JSONScanner) throws(TamisError) {
    if scanner.peek() == UInt8(ascii: "n"), try scanner.null() { return }
    var tokens: [AddedToken] = []
    try scanner.array { (scanner) throws(TamisError) in
      var token = AddedToken(id: -1, content: [])
      token.special = false
      token.normalized = true
      try scanner.object { (scanner) throws(TamisError) in
        switch String(decoding: scanner.bytes, as: UTF8.self) {
        case "id":
          let id = try scanner.integer()
          guard id >= 0, id < Vocabulary.idLimit else { throw scanner.broken("an id of \(id)") }
          token.id = Int32(id)
        case "content":
          try scanner.string()
          token.content = scanner.bytes
        case "single_word": token.singleWord = try scanner.bool()
        case "lstrip": token.leftStrip = try scanner.bool()
        case "rstrip": token.rightStrip = try scanner.bool()
        case "normalized": token.normalized = try scanner.bool()
        case "special": token.special = try scanner.bool()
        default: _ = try scanner.skip()
        }
      }
      guard token.id >= 0 else { throw scanner.broken("an added token without an id") }
      if !token.content.isEmpty { tokens.append(token) }
    }
    added = tokens
  }

  private func parts(_ text: UnsafeBufferPointer<UInt8>) throws(TamisError) -> TokenizerParts {
    let isByteLevel = Self.names("ByteLevel", normalizer) || Self.names("ByteLevel", preTokenizer)
    let (model, kind) = try model.make(text, byteLevel: isByteLevel)
    var parts = TokenizerParts(model: model, kind: kind)
    parts.isByteLevel = isByteLevel
    // A token that the model has keeps the model's id.
    parts.added = added.map { token in
      var token = token
      token.id = model.vocabulary.id(token.content) ?? token.id
      return token
    }
    if let normalizer, normalizer != .null { parts.normalizer = try makeNormalizer(normalizer) }
    if let preTokenizer, preTokenizer != .null { parts.preTokenizer = try makePreTokenizer(preTokenizer) }
    parts.postProcessor = try PostProcessor(postProcessor)
    parts.decoder = try DecoderChain(decoder)
    if let length = truncation?["max_length"]?.integer {
      guard length >= 0 else { throw TamisError(.format, "tokenizer.json: truncation.max_length is \(length)") }
      parts.truncation = Int(length)
    }
    parts.padToken = padding?["pad_token"]?.string.map { Array($0.utf8) }
    return parts
  }

  /// Whether a component, or one in its sequence, has this type.
  private static func names(_ type: String, _ json: JSON?) -> Bool {
    guard let json else { return false }
    if json["type"]?.string == type { return true }
    let members = json["normalizers"]?.array ?? json["pretokenizers"]?.array ?? []
    return members.contains { names(type, $0) }
  }
}

/// The `model` object of a tokenizer.json: its large parts as they were read, its options as a tree.
private struct ModelText {
  private var options: [JSON.Member] = []
  private var vocabulary: Vocabulary?
  /// Of a vocabulary that is a list of [piece, score].
  private var scores: [Double]?
  private var merges: Range<Int>?

  mutating func read(_ scanner: inout JSONScanner) throws(TamisError) {
    var file = self
    try scanner.object { (scanner) throws(TamisError) in
      let name = String(decoding: scanner.bytes, as: UTF8.self)
      switch name {
      case "vocab":
        if file.vocabulary != nil { throw scanner.broken("the name \"vocab\" stands twice") }
        if scanner.peek() == UInt8(ascii: "[") { try file.readScores(&scanner) } else { try file.readIds(&scanner) }
      case "merges":
        if file.merges != nil { throw scanner.broken("the name \"merges\" stands twice") }
        file.merges = try scanner.skip()
      default:
        let value = try scanner.tree()
        file.options.append(JSON.Member(name: name, value: value))
      }
    }
    self = file
  }

  private mutating func readIds(_ scanner: inout JSONScanner) throws(TamisError) {
    let left = scanner.text.count - scanner.at
    let vocabulary = Vocabulary(expecting: min(left / 24, 1 << 19), bytes: left / 4)
    try scanner.pieces(into: vocabulary)
    self.vocabulary = vocabulary
  }

  private mutating func readScores(_ scanner: inout JSONScanner) throws(TamisError) {
    let left = scanner.text.count - scanner.at
    let vocabulary = Vocabulary(expecting: min(left / 24, 1 << 19), bytes: left / 3)
    var scores: [Double] = []
    try scanner.array { (scanner) throws(TamisError) in
      scanner.skipSpace()
      guard scanner.take("[") else { throw scanner.broken("expected [piece, score]") }
      scanner.skipSpace()
      try scanner.string()
      try vocabulary.add(scores.count, scanner.bytes)
      scanner.skipSpace()
      guard scanner.take(",") else { throw scanner.broken("expected ,") }
      scanner.skipSpace()
      scores.append(try scanner.number())
      scanner.skipSpace()
      guard scanner.take("]") else { throw scanner.broken("expected ]") }
    }
    self.vocabulary = vocabulary
    self.scores = scores
  }

  func make(_ text: UnsafeBufferPointer<UInt8>, byteLevel: Bool) throws(TamisError) -> (any TokenModel, TokenizerKind) {
    guard let vocabulary else { throw TamisError(.format, "tokenizer.json: the model has no vocab") }
    let json = JSON.object(options)
    let part = try Component(json, role: "model", type: inferredType(json))
    if byteLevel, part.type != "BPE" {
      throw TamisError(.unsupported, "tokenizer.json: ByteLevel with the model \(part.type) is not implemented")
    }
    switch part.type {
    case "BPE": return (try bpe(text, vocabulary, part, byteLevel: byteLevel), .bpe)
    case "WordPiece":
      var options = WordPiece.Options()
      options.unknown = try part.bytes("unk_token", "[UNK]")
      options.prefix = try part.bytes("continuing_subword_prefix", "##")
      options.maxScalarsPerWord = min(try part.count("max_input_chars_per_word", 100), 1 << 20)
      return (WordPiece(vocabulary, options), .wordPiece)
    case "Unigram":
      guard let scores else { throw part.wrong("vocab", "a list of [piece, score]") }
      var options = Unigram.Options()
      options.unknownId = try part.id("unk_id")
      options.byteFallback = try part.flag("byte_fallback", false)
      if let unknown = options.unknownId, Int(unknown) >= scores.count { throw part.wrong("unk_id", "an id of its vocab") }
      let least = scores.min() ?? 0
      return (Unigram(vocabulary, scores: scores, unknownScore: least - 10, options), .unigram)
    case "WordLevel": return (WordLevel(vocabulary, unknown: try part.bytes("unk_token", "<unk>")), .wordLevel)
    default: throw part.unknownType
    }
  }

  /// Files of before `type` was written.
  private func inferredType(_ json: JSON) -> String {
    if merges != nil { return "BPE" }
    if scores != nil { return "Unigram" }
    return json["max_input_chars_per_word"] != nil || json["continuing_subword_prefix"] != nil ? "WordPiece" : "WordLevel"
  }

  private func bpe(
    _ text: UnsafeBufferPointer<UInt8>, _ vocabulary: Vocabulary, _ part: Component, byteLevel: Bool
  ) throws(TamisError) -> BPE {
    var options = BPE.Options()
    options.byteLevel = byteLevel
    options.unknown = part["unk_token"] == nil ? nil : try part.bytes("unk_token", "")
    options.fuseUnknown = try part.flag("fuse_unk", false)
    options.byteFallback = try part.flag("byte_fallback", false)
    options.ignoreMerges = try part.flag("ignore_merges", false)
    options.prefix = try part.bytes("continuing_subword_prefix", "")
    options.suffix = try part.bytes("end_of_word_suffix", "")
    if let unknown = options.unknown, vocabulary.id(unknown) == nil { throw part.wrong("unk_token", "in its vocab") }
    switch part["dropout"] {
    case nil, .integer(0), .number(0): break
    default: throw TamisError(.unsupported, "tokenizer.json: the model BPE with dropout: its tokens would be random")
    }
    guard let merges else { throw part.wrong("merges", "a list") }
    var builder = MergeTable.Builder(
      vocabulary, prefixLength: options.prefix.count, expecting: min(merges.count / 12, 1 << 20))
    var scanner = JSONScanner(checked: UnsafeBufferPointer(rebasing: text[merges]))
    try scanner.array { (scanner) throws(TamisError) in
      var cut: Int?
      scanner.skipSpace()
      if scanner.take("[") {
        scanner.skipSpace()
        try scanner.string()
        cut = scanner.bytes.count
        scanner.skipSpace()
        guard scanner.take(",") else { throw scanner.broken("expected [left, right]") }
        scanner.skipSpace()
        scanner.separate(0x20)
        try scanner.appendString()
        scanner.skipSpace()
        guard scanner.take("]") else { throw scanner.broken("expected [left, right]") }
      } else {
        try scanner.string()
        cut = scanner.bytes.firstIndex(of: 0x20)
        if let found = cut, scanner.bytes[(found + 1)...].contains(0x20) { cut = nil }
      }
      guard let cut else { throw scanner.broken("a merge that is not two pieces") }
      try builder.add(scanner.bytes, cut)
    }
    return BPE(vocabulary, builder.table, options)
  }
}
