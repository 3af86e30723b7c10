import TamisCore

/// One decoder of a tokenizer.json: turns the pieces of a token list into text.
enum DecoderStep: Sendable, Equatable {
  /// Bytes of the printable alphabet, then UTF-8, ill-formed parts as U+FFFD.
  case byteLevel
  /// Joins continuations, puts a space before the other pieces; `cleanup` takes it back before punctuation and contractions.
  case wordPiece(prefix: [UInt8], cleanup: Bool)
  /// "▁" becomes a space, or nothing in the first piece.
  case metaspace(replacement: [UInt8], dropsFirst: Bool)
  /// Runs of <0xNN> become the UTF-8 they spell, or U+FFFD each.
  case byteFallback
  /// The same as SentencePiece reads it: U+FFFD for each byte that is part of no character.
  case sentencePieceBytes
  /// "▁" becomes a space. The first of a piece goes while there is no text yet: of one piece, or of every one (`all`).
  case sentencePieceSpaces(dropsFirst: Bool, all: Bool)
  /// All pieces as one, for the decoders that follow.
  case fuse
  /// Drops up to so many of a character at a piece's start and end.
  case strip(content: [UInt8], start: Int, stop: Int)
  case replace(pattern: [UInt8], content: [UInt8])
  /// A suffix that ends words becomes a space, at the end nothing.
  case bpe(suffix: [UInt8])
  /// No decoder: pieces with a space between them.
  case join
}

/// The decoders of a tokenizer, in order.
struct DecoderChain: Sendable {
  let steps: [DecoderStep]

  init(_ steps: [DecoderStep]) { self.steps = steps.isEmpty ? [.join] : steps }

  /// `nil` and null: pieces with a space between them.
  init(_ json: JSON?) throws(TamisError) {
    var steps: [DecoderStep] = []
    if let json, json != .null { try Self.append(json, to: &steps) }
    self.init(steps)
  }

  private static func append(_ json: JSON, to steps: inout [DecoderStep]) throws(TamisError) {
    let part = try Component(json, role: "decoder")
    switch part.type {
    case "Sequence":
      for decoder in try part.array("decoders") { try append(decoder, to: &steps) }
    case "ByteLevel": steps.append(.byteLevel)
    case "WordPiece":
      steps.append(.wordPiece(prefix: try part.bytes("prefix", "##"), cleanup: try part.flag("cleanup", true)))
    case "Metaspace":
      let prepend = try MetaspacePreTokenizer.Prepend(part)
      steps.append(.metaspace(replacement: try part.bytes("replacement", "\u{2581}"), dropsFirst: prepend != .never))
    case "ByteFallback": steps.append(.byteFallback)
    case "Fuse": steps.append(.fuse)
    case "Strip":
      steps.append(
        .strip(content: try part.bytes("content", " "), start: try part.count("start", 0), stop: try part.count("stop", 0)))
    case "Replace":
      guard let pattern = part["pattern"], let literal = pattern["String"]?.string else {
        throw TamisError(.unsupported, "tokenizer.json: decoder Replace with a pattern that is no String")
      }
      steps.append(.replace(pattern: Array(literal.utf8), content: try part.bytes("content", "")))
    case "BPEDecoder": steps.append(.bpe(suffix: try part.bytes("suffix", "</w>")))
    default: throw part.unknownType
    }
  }

  func run() -> DecodeRun { DecodeRun(steps) }
}

/// Decoding under way: pieces go in one after another, and text comes out as soon as it is certain.
struct DecodeRun: Sendable {
  fileprivate struct State {
    var isFirst = true
    /// Bytes that wait for more: the start of a character, a run of <0xNN>, a last piece, a whole text.
    var held: [UInt8] = []
    var holds = false
    /// Of `strip` over a fused text: how many characters it may still drop.
    var left = 0
  }

  private let steps: [DecoderStep]
  private var states: [State]
  /// From here on pieces are parts of one fused text.
  private let fusedFrom: Int

  init(_ steps: [DecoderStep]) {
    self.steps = steps
    states = steps.map { step in
      var state = State()
      if case .strip(_, let start, _) = step { state.left = start }
      return state
    }
    fusedFrom = (steps.firstIndex { $0 == .fuse || $0 == .byteLevel } ?? steps.count) + 1
  }

  mutating func add(_ piece: [UInt8], into out: inout [UInt8]) { feed(piece, 0, &out) }

  /// What one more piece can change. Of a step that collects, a piece only adds to what is held, so its length will do: it may
  /// be a whole text.
  struct Mark {
    fileprivate var states: [State]
    fileprivate var held: [Int]
  }

  func mark() -> Mark {
    var states = states
    for k in states.indices where collects(k) { states[k].held = [] }
    return Mark(states: states, held: self.states.map(\.held.count))
  }

  /// Takes back the pieces added since the mark.
  mutating func rollBack(to mark: Mark) {
    for k in states.indices {
      var held: [UInt8] = []
      swap(&held, &states[k].held)
      let collected = collects(k)
      states[k] = mark.states[k]
      if collected {
        held.removeLast(held.count - mark.held[k])
        states[k].held = held
      }
    }
  }

  /// What is left when no more pieces come.
  mutating func finish(into out: inout [UInt8]) {
    for k in steps.indices {
      if collects(k) {
        if states[k].holds { transform(states[k].held, k, isLast: true, &out) }
      } else {
        flush(k, &out)
      }
    }
    self = DecodeRun(steps)
  }

  /// Whether a step needs the whole of a fused text before it can say anything.
  private func collects(_ k: Int) -> Bool {
    guard k >= fusedFrom else { return false }
    switch steps[k] {
    case .strip(_, _, let stop): return stop > 0
    case .metaspace, .fuse: return false
    default: return true
    }
  }

  private mutating func feed(_ piece: [UInt8], _ k: Int, _ out: inout [UInt8]) {
    if k == steps.count {
      out.append(contentsOf: piece)
    } else if collects(k) {
      states[k].held.append(contentsOf: piece)
      states[k].holds = true
    } else {
      transform(piece, k, isLast: false, &out)
    }
  }

  private mutating func transform(_ piece: [UInt8], _ k: Int, isLast: Bool, _ out: inout [UInt8]) {
    let isFirst = states[k].isFirst
    if k < fusedFrom { states[k].isFirst = false }
    switch steps[k] {
    case .byteLevel:
      let raw = piece.withUnsafeBufferPointer { piece in
        ByteAlphabet.decode(piece, into: &states[k].held)
      }
      if !raw { states[k].held.append(contentsOf: piece) }
      let ready = Self.takeCertain(&states[k].held)
      if !ready.isEmpty { feed(ready, k + 1, &out) }
      if isLast { flush(k, &out) }
    case .byteFallback, .sentencePieceBytes:
      if let byte = ByteFallback.byte(piece) {
        states[k].held.append(byte)
        if isLast { flush(k, &out) }
      } else {
        flush(k, &out)
        feed(piece, k + 1, &out)
      }
    case .bpe(let suffix):
      if states[k].holds {
        feed(Self.replacing(suffix, by: [0x20], in: states[k].held), k + 1, &out)
      }
      states[k].held = piece
      states[k].holds = true
      if isLast { flush(k, &out) }
    case .wordPiece(let prefix, let cleanup):
      var text = piece
      if !isFirst { text = piece.starts(with: prefix) ? Array(piece[prefix.count...]) : [0x20] + piece }
      feed(cleanup ? Self.cleaned(text) : text, k + 1, &out)
    case .metaspace(let replacement, let dropsFirst):
      feed(Self.replacing(replacement, by: isFirst && dropsFirst ? [] : [0x20], in: piece), k + 1, &out)
    case .sentencePieceSpaces(let dropsFirst, let all):
      let space: [UInt8] = [0xe2, 0x96, 0x81]
      let drops = dropsFirst && isFirst && piece.starts(with: space)
      let rest = drops ? Array(piece[3...]) : piece
      states[k].isFirst = rest.isEmpty && (all || !drops)
      feed(Self.replacing(space, by: [0x20], in: rest), k + 1, &out)
    case .fuse: feed(piece, k + 1, &out)
    case .replace(let pattern, let content): feed(Self.replacing(pattern, by: content, in: piece), k + 1, &out)
    case .join: feed(isFirst ? piece : [0x20] + piece, k + 1, &out)
    case .strip(let content, let start, let stop):
      var text = piece[...]
      var left = k >= fusedFrom ? states[k].left : start
      while left > 0, !content.isEmpty, text.starts(with: content) {
        text = text.dropFirst(content.count)
        left -= 1
      }
      // The first character that stays ends it, in a fused text for good.
      states[k].left = text.isEmpty ? left : 0
      var right = stop
      while right > 0, !content.isEmpty, text.count >= content.count, text.suffix(content.count).elementsEqual(content) {
        text = text.dropLast(content.count)
        right -= 1
      }
      feed(Array(text), k + 1, &out)
    }
  }

  private mutating func flush(_ k: Int, _ out: inout [UInt8]) {
    switch steps[k] {
    case .byteLevel:
      if states[k].held.isEmpty { return }
      let rest = states[k].held.withUnsafeBufferPointer { UTF8Input.repaired($0) }
      states[k].held = []
      feed(rest, k + 1, &out)
    case .sentencePieceBytes:
      let bytes = states[k].held
      if bytes.isEmpty { return }
      states[k].held = []
      feed(Self.spelled(bytes), k + 1, &out)
    case .byteFallback:
      let bytes = states[k].held
      if bytes.isEmpty { return }
      states[k].held = []
      if bytes.withUnsafeBufferPointer({ UTF8Input.validPrefix($0.baseAddress!, $0.count) }) == bytes.count {
        feed(bytes, k + 1, &out)
      } else {
        for _ in bytes { feed(UTF8Input.replacement, k + 1, &out) }
      }
    case .bpe(let suffix):
      guard states[k].holds else { return }
      states[k].holds = false
      feed(Self.replacing(suffix, by: [], in: states[k].held), k + 1, &out)
    default: break
    }
  }

  // MARK: pieces of text

  /// Takes what can no longer change: all but the start of a character at the end. Ill-formed parts become U+FFFD.
  private static func takeCertain(_ bytes: inout [UInt8]) -> [UInt8] {
    var tail = 0
    for back in 1...3 where back <= bytes.count {
      let byte = bytes[bytes.count - back]
      if byte & 0xc0 == 0x80 { continue }
      if byte >= 0xc0 {
        let (width, valid) = bytes.withUnsafeBufferPointer { UTF8Input.sequence($0.baseAddress! + bytes.count - back, back) }
        if !valid, width == back, byte >= 0xc2, byte <= 0xf4 { tail = back }
      }
      break
    }
    if tail == 0, bytes.withUnsafeBufferPointer({ UTF8Input.validPrefix($0.baseAddress!, $0.count) }) == bytes.count {
      defer { bytes.removeAll(keepingCapacity: true) }
      return bytes
    }
    let ready = bytes.withUnsafeBufferPointer { UTF8Input.repaired(UnsafeBufferPointer(rebasing: $0[..<($0.count - tail)])) }
    bytes.removeFirst(bytes.count - tail)
    return ready
  }

  private static func spelled(_ bytes: [UInt8]) -> [UInt8] {
    var out: [UInt8] = []
    bytes.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      var at = 0
      while at < bytes.count {
        let (width, valid) = UTF8Input.sequence(base + at, bytes.count - at)
        out.append(contentsOf: valid ? Array(bytes[at..<at + width]) : UTF8Input.replacement)
        at += valid ? width : 1
      }
    }
    return out
  }

  static func replacing(_ pattern: [UInt8], by content: [UInt8], in text: [UInt8]) -> [UInt8] {
    guard !pattern.isEmpty, text.count >= pattern.count else { return text }
    var out: [UInt8] = []
    out.reserveCapacity(text.count)
    var i = 0
    while i < text.count {
      if text[i] == pattern[0], text[i...].starts(with: pattern) {
        out.append(contentsOf: content)
        i += pattern.count
      } else {
        out.append(text[i])
        i += 1
      }
    }
    return out
  }

  /// What the WordPiece decoder of `tokenizers` does to each piece, in its order.
  private static let cleanups: [(pattern: [UInt8], content: [UInt8])] = [
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" do not", " don't"),
    (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
  ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

  private static func cleaned(_ text: [UInt8]) -> [UInt8] {
    guard text.contains(0x20) else { return text }
    var text = text
    for (pattern, content) in cleanups { text = replacing(pattern, by: content, in: text) }
    return text
  }
}
