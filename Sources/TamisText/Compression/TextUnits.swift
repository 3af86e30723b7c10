import TamisCore

/// Characters of the property White_Space, in UTF-8.
enum WhiteSpace {
  /// Bytes of the white space character that begins at `at`; 0: none does.
  @inline(__always)
  static func length(_ text: TextBytes, at: Int) -> Int {
    guard at < text.count else { return 0 }
    let byte = text[at]
    if byte < 0x80 { return byte == 0x20 || (0x09...0x0d).contains(byte) ? 1 : 0 }
    return wideLength(text, at: at)
  }

  private static func wideLength(_ text: TextBytes, at: Int) -> Int {
    let first = text[at]
    guard first == 0xc2 || (0xe1...0xe3).contains(first), at + 1 < text.count else { return 0 }
    let second = text[at + 1]
    if first == 0xc2 { return second == 0x85 || second == 0xa0 ? 2 : 0 }
    guard at + 2 < text.count else { return 0 }
    let third = text[at + 2]
    switch (first, second) {
    case (0xe1, 0x9a): return third == 0x80 ? 3 : 0  // U+1680
    case (0xe2, 0x80): return (0x80...0x8a).contains(third) || third == 0xa8 || third == 0xa9 || third == 0xaf ? 3 : 0
    case (0xe2, 0x81): return third == 0x9f ? 3 : 0  // U+205F
    case (0xe3, 0x80): return third == 0x80 ? 3 : 0  // U+3000
    default: return 0
    }
  }

  /// Whether a white space character ends just before `end`.
  static func endsBefore(_ text: TextBytes, _ end: Int) -> Bool {
    (1...3).contains { end - $0 >= 0 && length(text, at: end - $0) == $0 }
  }
}

extension TextBytes {
  /// The scalar that begins at `at` and its length in bytes; U+FFFD and 1 for a byte that begins none.
  func scalar(at: Int) -> (scalar: Unicode.Scalar, length: Int) {
    let first = self[at]
    if first < 0x80 { return (Unicode.Scalar(first), 1) }
    let length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2
    guard (0xc2...0xf4).contains(first), at + length <= count else { return ("\u{fffd}", 1) }
    var value = UInt32(first) & (0x7f >> UInt32(length))
    for i in 1..<length {
      guard self[at + i] & 0xc0 == 0x80 else { return ("\u{fffd}", 1) }
      value = value << 6 | UInt32(self[at + i] & 0x3f)
    }
    // Overlong forms and surrogates begin no scalar.
    guard value >= (length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80), let scalar = Unicode.Scalar(value) else {
      return ("\u{fffd}", 1)
    }
    return (scalar, length)
  }
}

/// Units of a text found by rule.
public enum TextUnits {
  public enum Kind: Int32, Sendable {
    case words = 0
    case sentences = 1
  }

  public static func split(_ text: TextBytes, _ kind: Kind) throws(TamisError) -> [TextSpan] {
    try require(text.count <= Int(Int32.max), "text has \(text.count) bytes; expected at most \(Int32.max)")
    return kind == .words ? words(text) : sentences(text)
  }

  /// Runs of bytes without white space.
  static func words(_ text: TextBytes) -> [TextSpan] {
    var spans: [TextSpan] = []
    var start = -1
    var at = 0
    while at < text.count {
      let space = WhiteSpace.length(text, at: at)
      if space == 0 {
        if start < 0 { start = at }
        at += 1
      } else {
        if start >= 0 { spans.append(TextSpan(start, at)) }
        start = -1
        at += space
      }
    }
    if start >= 0 { spans.append(TextSpan(start, at)) }
    return spans
  }

  /// Sentences end at white space after . ? or !, unless that closes an abbreviation, and after an ideographic full stop with
  /// its closing quotes. The rule of Selective Context's code (arXiv 2310.06201), which knows neither ! nor ideographs and takes
  /// "3.5." for an abbreviation.
  static func sentences(_ text: TextBytes) -> [TextSpan] {
    var spans: [TextSpan] = []
    var start = -1
    var wordEnd = 0  // past the last character that is no white space
    var tail = Tail()
    var at = 0
    while at < text.count {
      let (scalar, length) = text.scalar(at: at)
      if WhiteSpace.length(text, at: at) > 0 {
        if start >= 0 && tail.endsSentence {
          spans.append(TextSpan(start, wordEnd))
          start = -1
        }
        tail = Tail()
      } else {
        if start >= 0 && tail.endsIdeographicSentence && !Tail.closers.contains(scalar) {
          spans.append(TextSpan(start, wordEnd))
          start = -1
          tail = Tail()
        }
        if start < 0 { start = at }
        tail.push(scalar)
        wordEnd = at + length
      }
      at += length
    }
    if start >= 0 { spans.append(TextSpan(start, wordEnd)) }
    return spans
  }
}

/// The last four characters before a place, none of them white space.
private struct Tail {
  static let closers: Set<Unicode.Scalar> = ["\u{300d}", "\u{300f}", "\u{ff09}", "\u{201d}", "\u{2019}"]
  private static let ideographicEnds: Set<Unicode.Scalar> = ["\u{3002}", "\u{ff01}", "\u{ff1f}"]

  private var last: (Unicode.Scalar, Unicode.Scalar, Unicode.Scalar, Unicode.Scalar) = ("\0", "\0", "\0", "\0")
  private(set) var endsIdeographicSentence = false

  mutating func push(_ scalar: Unicode.Scalar) {
    if Self.ideographicEnds.contains(scalar) {
      endsIdeographicSentence = true
    } else if !Self.closers.contains(scalar) {
      endsIdeographicSentence = false
    }
    last = (last.1, last.2, last.3, scalar)
  }

  var endsSentence: Bool {
    if endsIdeographicSentence { return true }
    guard last.3 == "." || last.3 == "?" || last.3 == "!" else { return false }
    let isInitials = Self.isLetter(last.0) && last.1 == "." && Self.isLetter(last.2)  // e.g.  U.S.
    let isTitle = ("A"..."Z").contains(last.1) && ("a"..."z").contains(last.2) && last.3 == "."  // Mr.
    return !isInitials && !isTitle
  }

  private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x80 ? ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) : scalar.properties.isAlphabetic
  }
}
