import TamisCore

/// A SentencePiece model (arXiv 1808.06226): the ModelProto of a .model file. Ids, arithmetic and normalisation are
/// SentencePiece's own; no template, as the file has none.
struct SentencePieceFile {
  private enum Kind: UInt64 {
    case normal = 1
    case unknown, control, userDefined, unused, byte
  }

  private struct Piece {
    var bytes = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    var score: Float = 0
    var kind = Kind.normal
  }

  private var pieces: [Piece] = []
  private var modelType: UInt64 = 1
  private var byteFallback = false
  private var unknownSurface = Array(" \u{2047} ".utf8)
  private var padId: Int?
  private var map: [UInt8] = []
  private var rule = SentencePieceNormalizer.Rule()

  static func read(_ bytes: UnsafeBufferPointer<UInt8>) throws(TamisError) -> TokenizerParts {
    var file = SentencePieceFile()
    var message = ProtobufReader(bytes)
    while let (field, value) = try message.next() {
      guard case .bytes(let part) = value else { continue }
      switch field {
      case 1: try file.readPiece(part)
      case 2: try file.readTrainer(part)
      case 3: try file.readNormalizer(part)
      case 5: try file.readDenormalizer(part)
      default: break
      }
    }
    return try file.parts()
  }

  private mutating func readPiece(_ bytes: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    var piece = Piece()
    var message = ProtobufReader(bytes)
    while let (field, value) = try message.next() {
      switch (field, value) {
      case (1, .bytes(let text)): piece.bytes = text
      case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
      case (3, .number(let number)):
        guard let kind = Kind(rawValue: number) else {
          throw TamisError(.unsupported, "SentencePiece model: piece \(pieces.count) has type \(number)")
        }
        piece.kind = kind
      default: break
      }
    }
    guard let base = piece.bytes.baseAddress, piece.bytes.count > 0,
      UTF8Input.validPrefix(base, piece.bytes.count) == piece.bytes.count
    else { throw TamisError(.format, "SentencePiece model: piece \(pieces.count) is empty or not UTF-8") }
    guard piece.score.isFinite else {
      throw TamisError(.format, "SentencePiece model: piece \(pieces.count) has no finite score")
    }
    guard pieces.count < Vocabulary.idLimit else { throw TamisError(.format, "SentencePiece model: too many pieces") }
    pieces.append(piece)
  }

  private mutating func readTrainer(_ bytes: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    var message = ProtobufReader(bytes)
    while let (field, value) = try message.next() {
      switch (field, value) {
      case (3, .number(let type)): modelType = type
      case (24, .number(let flag)):
        if flag != 0 { throw TamisError(.unsupported, "SentencePiece model: treat_whitespace_as_suffix is not implemented") }
      case (35, .number(let flag)): byteFallback = flag != 0
      case (43, .number(let id)): padId = Int(truncatingIfNeeded: Int32(truncatingIfNeeded: id))
      case (44, .bytes(let text)): unknownSurface = UTF8Input.repaired(text)
      default: break
      }
    }
  }

  private mutating func readNormalizer(_ bytes: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    var message = ProtobufReader(bytes)
    while let (field, value) = try message.next() {
      switch (field, value) {
      case (2, .bytes(let blob)): map = Array(blob)
      case (3, .number(let flag)): rule.addsDummyPrefix = flag != 0
      case (4, .number(let flag)): rule.removesExtraWhitespace = flag != 0
      case (5, .number(let flag)): rule.escapesWhitespace = flag != 0
      default: break
      }
    }
  }

  private func readDenormalizer(_ bytes: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    var message = ProtobufReader(bytes)
    while let (field, value) = try message.next() {
      if field == 2, case .bytes(let blob) = value, blob.count > 0 {
        throw TamisError(.unsupported, "SentencePiece model: a denormaliser is not implemented")
      }
    }
  }

  private func parts() throws(TamisError) -> TokenizerParts {
    let vocabulary = Vocabulary(expecting: pieces.count)
    for (id, piece) in pieces.enumerated() { try vocabulary.add(id, piece.bytes) }
    guard vocabulary.count == pieces.count else { throw TamisError(.format, "SentencePiece model: a piece stands twice") }
    let unknowns = pieces.indices.filter { pieces[$0].kind == .unknown }
    guard unknowns.count == 1, let unknown = unknowns.first else {
      throw TamisError(.format, "SentencePiece model: \(unknowns.count) unknown pieces; expected one")
    }
    let userDefined = pieces.indices.filter { pieces[$0].kind == .userDefined }
    let symbols = vocabulary.withPieces { piece in
      DoubleArray(userDefined.compactMap { id in piece(id).map { ($0, Int32(id)) } })
    }
    let longest = userDefined.map { pieces[$0].bytes.count }.max() ?? 0
    let model: any TokenModel
    let kind: TokenizerKind
    switch modelType {
    case 1:
      model = unigram(vocabulary, unknown)
      kind = .unigram
    case 2:
      let bpe = try bpe(vocabulary, unknown)
      model = userDefined.isEmpty ? bpe : FrozenSymbols(bpe, symbols, longest: longest)
      kind = .bpe
    default:
      throw TamisError(.unsupported, "SentencePiece model: model_type \(modelType) (WORD, CHAR) is not implemented")
    }
    var parts = TokenizerParts(model: model, kind: kind)
    parts.normalizer = SentencePieceNormalizer(
      map: map.isEmpty ? nil : try CharacterMap(map), symbols: userDefined.isEmpty ? nil : symbols,
      longestSymbol: longest, rule)
    parts.decoder = DecoderChain([
      .sentencePieceBytes,
      .sentencePieceSpaces(
        dropsFirst: rule.addsDummyPrefix || rule.removesExtraWhitespace, all: rule.removesExtraWhitespace),
      .fuse,
    ])
    parts.countsWordsByMetaspace = true
    parts.unknownSurface = unknownSurface
    for (id, piece) in pieces.enumerated() where piece.kind == .control || piece.kind == .unknown {
      var token = AddedToken(id: Int32(id), content: Array(piece.bytes))
      token.isInText = false
      parts.added.append(token)
    }
    if let padId, pieces.indices.contains(padId) { parts.padToken = Array(pieces[padId].bytes) }
    return parts
  }

  private func unigram(_ vocabulary: Vocabulary, _ unknown: Int) -> Unigram {
    let normal = pieces.filter { $0.kind == .normal }.map(\.score)
    let least = normal.min() ?? 0
    let most = normal.max() ?? 0
    let scores = pieces.map { piece in
      // A user-defined symbol always wins: more than any pieces of its length could have.
      piece.kind == .userDefined ? Double(Float(piece.bytes.count) * most) - 0.1 : Double(piece.score)
    }
    var options = Unigram.Options()
    options.unknownId = Int32(unknown)
    options.byteFallback = byteFallback
    options.sentencePiece = true
    let inText = pieces.filter { [.normal, .userDefined].contains($0.kind) }
    options.cutsWords =
      inText.contains { Array($0.bytes) == Self.space } && !inText.contains { Self.goesOnAfterWord(Array($0.bytes)) }
    return Unigram(
      vocabulary, scores: scores, inText: { [.normal, .userDefined].contains(pieces[$0].kind) },
      unknownScore: Double(least - 10), options)
  }

  /// U+2581
  private static let space: [UInt8] = [0xe2, 0x96, 0x81]

  /// Whether a space follows another character.
  private static func goesOnAfterWord(_ piece: [UInt8]) -> Bool {
    var rest = piece[...]
    while rest.starts(with: space) { rest = rest.dropFirst(3) }
    return rest.indices.contains { rest[$0...].starts(with: space) }
  }

  /// Pairs merge by the score of what they make, the higher first; equal scores by place.
  private func bpe(_ vocabulary: Vocabulary, _ unknown: Int) throws(TamisError) -> BPE {
    if pieces.contains(where: { $0.kind == .unused }) {
      throw TamisError(.unsupported, "SentencePiece model: UNUSED pieces of a BPE model are not implemented")
    }
    let scores = Set(pieces.filter { $0.kind == .normal || $0.kind == .userDefined }.map(\.score)).sorted(by: >)
    var rank: [Float: UInt32] = [:]
    for (i, score) in scores.enumerated() { rank[score] = UInt32(i) }
    let merges = MergeTable.implied(by: vocabulary, byScalar: true) { id in
      pieces[id].kind == .normal || pieces[id].kind == .userDefined ? rank[pieces[id].score] : nil
    }
    var options = BPE.Options()
    options.unknown = Array(pieces[unknown].bytes)
    options.fuseUnknown = true
    options.byteFallback = byteFallback
    return BPE(vocabulary, merges, options)
  }
}

/// Symbols that are never merged with anything: cut out before the model sees the rest.
final class FrozenSymbols: TokenModel, @unchecked Sendable {
  private let inner: any TokenModel
  private let symbols: DoubleArray
  private let longest: Int
  var vocabulary: Vocabulary { inner.vocabulary }
  var unknownId: Int32? { inner.unknownId }

  init(_ inner: any TokenModel, _ symbols: DoubleArray, longest: Int) {
    self.inner = inner
    self.symbols = symbols
    self.longest = longest
  }

  func tokenize(
    _ text: UnsafePointer<UInt8>, count: Int, _ slices: UnsafeBufferPointer<TextSlice>, into tokens: TokenBuffer,
    _ scratch: ModelScratch
  ) throws(TamisError) {
    func rest(_ start: Int, _ end: Int) throws(TamisError) {
      var slice = TextSlice(start: Int32(truncatingIfNeeded: start), end: Int32(truncatingIfNeeded: end))
      try withUnsafePointer(to: &slice) { (slice) throws(TamisError) in
        try inner.tokenize(text, count: count, UnsafeBufferPointer(start: slice, count: 1), into: tokens, scratch)
      }
    }
    for slice in slices {
      var done = Int(slice.start)
      var at = done
      let end = Int(slice.end)
      while at < end {
        if let (id, length) = symbols.longestMatch(text + at, min(longest, end - at)) {
          if done < at { try rest(done, at) }
          tokens.append(id, at, at + length)
          at += length
          done = at
        } else {
          at += UTF8Text.length(lead: text[at])
        }
      }
      if done < end { try rest(done, end) }
      tokens.word &+= 1
    }
  }
}
