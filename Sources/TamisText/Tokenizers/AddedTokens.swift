import TamisCore

/// A token that is looked for in the text itself, before the model sees it.
struct AddedToken: Sendable, Equatable {
  var id: Int32
  var content: [UInt8]
  /// Only where no word character stands beside it.
  var singleWord = false
  /// Takes the whitespace before it, or after it.
  var leftStrip = false
  var rightStrip = false
  /// Looked for after the normaliser, in its normalised form.
  var normalized = false
  /// Left out on request when decoding, and not looked for in untrusted text.
  var special = true
  /// False: known as special, but never looked for in text (SentencePiece's control pieces).
  var isInText = true
}

/// The added tokens of a tokenizer, and a matcher each for those sought before and after the normaliser: at every place from
/// left to
/// right the longest token that starts there.
struct AddedTokens: Sendable {
  private(set) var tokens: [AddedToken] = []
  private var byId: [Int32: Int] = [:]
  /// Normalised forms, for decoding: what the decoders know how to undo.
  private var normalizedForms: [Int32: [UInt8]] = [:]
  private var byContent: [[UInt8]: Int32] = [:]
  let raw: Matcher?
  let normalized: Matcher?

  init(_ tokens: [AddedToken], normalizer: (any Normalizer)?) throws(TamisError) {
    self.tokens = tokens
    var raw: [(pattern: [UInt8], index: Int)] = []
    var normalized: [(pattern: [UInt8], index: Int)] = []
    for (index, token) in tokens.enumerated() {
      byId[token.id] = index
      byContent[token.content] = token.id
      guard token.isInText else { continue }
      guard token.normalized else {
        raw.append((token.content, index))
        continue
      }
      var text = AlignedText(bytes: token.content)
      try normalizer?.apply(&text)
      normalized.append((text.bytes, index))
      if text.bytes != token.content { normalizedForms[token.id] = text.bytes }
    }
    self.raw = Matcher(raw, tokens)
    self.normalized = Matcher(normalized, tokens)
  }

  func id(_ content: [UInt8]) -> Int32? { byContent[content] }
  func token(_ id: Int32) -> AddedToken? { byId[id].map { tokens[$0] } }

  func decoded(_ id: Int32) -> [UInt8]? { normalizedForms[id] ?? token(id)?.content }

  /// A found token, or the text between two.
  struct Match {
    var token: Int32?
    var start: Int
    var end: Int
  }

  final class Matcher: @unchecked Sendable {
    private let tokens: [AddedToken]
    private let trie: DoubleArray
    private let firstBytes: [Bool]
    private let longest: Int

    init?(_ patterns: [(pattern: [UInt8], index: Int)], _ tokens: [AddedToken]) {
      // Of two tokens with one form the later counts.
      var seen: [[UInt8]: Int] = [:]
      for (pattern, index) in patterns where !pattern.isEmpty { seen[pattern] = index }
      if seen.isEmpty { return nil }
      self.tokens = tokens
      var first = [Bool](repeating: false, count: 256)
      var blob: [UInt8] = []
      var places: [(start: Int, count: Int, index: Int)] = []
      for (pattern, index) in seen.sorted(by: { $0.value < $1.value }) {
        first[Int(pattern[0])] = true
        places.append((blob.count, pattern.count, index))
        blob += pattern
      }
      firstBytes = first
      longest = places.map(\.count).max() ?? 0
      trie = blob.withUnsafeBufferPointer { blob in
        DoubleArray(
          places.map { place in
            (UnsafeBufferPointer(rebasing: blob[place.start..<place.start + place.count]), Int32(place.index))
          })
      }
    }

    /// Calls `each` with what the text consists of, in order. `skipSpecial`: special tokens are text.
    func split(
      _ text: UnsafeBufferPointer<UInt8>, skipSpecial: Bool, _ each: (Match) throws(TamisError) -> Void
    ) throws(TamisError) {
      guard let base = text.baseAddress else { return }
      var done = 0
      var at = 0
      try firstBytes.withUnsafeBufferPointer { (isFirst) throws(TamisError) in
        while true {
          while at < text.count, !isFirst[Int(base[at])] { at &+= 1 }
          if at >= text.count { break }
          guard let (index, length) = trie.longestMatch(base + at, min(longest, text.count - at)) else {
            at &+= 1
            continue
          }
          let token = tokens[Int(index)]
          var start = at
          var end = at + length
          at = end
          if skipSpecial, token.special { continue }
          if token.singleWord, Self.isWord(base, before: start) || Self.isWord(base, after: end, text.count) { continue }
          if token.leftStrip { start = max(Self.whitespaceStart(base, before: start), done) }
          if token.rightStrip { end = Self.whitespaceEnd(base, after: end, text.count) }
          if start > end { continue }
          // A token inside the whitespace that the one before it took counts all the same, as it does in the peer.
          if done < start { try each(Match(token: nil, start: done, end: start)) }
          if start < end { try each(Match(token: token.id, start: start, end: end)) }
          done = end
        }
      }
      if done < text.count { try each(Match(token: nil, start: done, end: text.count)) }
    }

    private static func isWord(_ text: UnsafePointer<UInt8>, before end: Int) -> Bool {
      guard end > 0 else { return false }
      var start = end - 1
      while start > 0, text[start] & 0xc0 == 0x80 { start -= 1 }
      return UnicodeData.isWord(UTF8Text.scalar(text, at: start).value)
    }

    private static func isWord(_ text: UnsafePointer<UInt8>, after start: Int, _ count: Int) -> Bool {
      start < count && UnicodeData.isWord(UTF8Text.scalar(text, at: start).value)
    }

    private static func whitespaceStart(_ text: UnsafePointer<UInt8>, before end: Int) -> Int {
      var at = end
      while at > 0 {
        var start = at - 1
        while start > 0, text[start] & 0xc0 == 0x80 { start -= 1 }
        guard UnicodeData.isWhitespace(UTF8Text.scalar(text, at: start).value) else { break }
        at = start
      }
      return at
    }

    private static func whitespaceEnd(_ text: UnsafePointer<UInt8>, after start: Int, _ count: Int) -> Int {
      var at = start
      while at < count, UnicodeData.isWhitespace(UTF8Text.scalar(text, at: at).value) { at += UTF8Text.length(lead: text[at]) }
      return at
    }
  }
}
