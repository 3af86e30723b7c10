import TamisCore

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
    let reader = ScalarReader(bytes: text)
    var spans: [TextSpan] = []
    var at = reader.skippingSpace(from: 0, to: text.count)
    while at < text.count {
      let end = reader.nextSpace(from: at, to: text.count)
      spans.append(TextSpan(at, end))
      at = reader.skippingSpace(from: end, to: text.count)
    }
    return spans
  }

  /// Sentences end at white space after . ? or !, unless that closes an abbreviation, and after an ideographic full stop with
  /// its closing quotes. The rule of Selective Context's code (arXiv 2310.06201), which knows neither ! nor ideographs and
  /// takes "3.5." for an abbreviation.
  static func sentences(_ text: TextBytes) -> [TextSpan] {
    let reader = ScalarReader(bytes: text)
    var spans: [TextSpan] = []
    var start = -1
    var wordEnd = 0  // past the last character that is no white space
    var tail = Tail()
    var at = 0
    while at < text.count {
      let (scalar, length) = reader.scalar(at: at)
      if UnicodeData.isWhitespace(scalar) {
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
  /// 」 』 ） ” ’
  static let closers: Set<UInt32> = [0x300d, 0x300f, 0xff09, 0x201d, 0x2019]
  /// 。 ！ ？
  private static let ideographicEnds: Set<UInt32> = [0x3002, 0xff01, 0xff1f]

  private var last: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
  private(set) var endsIdeographicSentence = false

  mutating func push(_ scalar: UInt32) {
    if Self.ideographicEnds.contains(scalar) {
      endsIdeographicSentence = true
    } else if !Self.closers.contains(scalar) {
      endsIdeographicSentence = false
    }
    last = (last.1, last.2, last.3, scalar)
  }

  var endsSentence: Bool {
    if endsIdeographicSentence { return true }
    let isDot = last.3 == 0x2e
    guard isDot || last.3 == 0x3f || last.3 == 0x21 else { return false }
    let isInitials = UnicodeData.isLetter(last.0) && last.1 == 0x2e && UnicodeData.isLetter(last.2)  // e.g.  U.S.
    let isTitle = (0x41...0x5a).contains(last.1) && (0x61...0x7a).contains(last.2) && isDot  // Mr.
    return !isInitials && !isTitle
  }
}
