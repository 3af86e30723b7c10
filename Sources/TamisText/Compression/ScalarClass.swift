/// What a scalar does at the borders of words.
enum ScalarClass: UInt8 {
  case space, letter, digit, punctuation
  /// Marks, joiners, format and control characters: never begin a word.
  case extend
  /// Katakana and its length mark: a run is one word.
  case katakana
  /// Han, Hiragana, Bopomofo, Thai, Lao, Khmer, Myanmar: written without spaces.
  case unspaced
  case regional

  var isWord: Bool { self == .letter || self == .digit }
  var isUnspaced: Bool { self == .unspaced || self == .katakana }

  init(_ scalar: UInt32) {
    self = scalar < 0x80 ? Self.ascii[Int(scalar)] : Self.wide(scalar)
  }

  private static let ascii: [ScalarClass] = (0..<128).map { code in
    switch code {
    case 0x09...0x0d, 0x20: .space
    case 0x30...0x39: .digit
    case 0x41...0x5a, 0x61...0x7a: .letter
    case 0x21...0x7e: .punctuation
    default: .extend
    }
  }

  private static func wide(_ code: UInt32) -> ScalarClass {
    switch code {
    case 0x0e01...0x0e30, 0x0e32...0x0e33, 0x0e40...0x0e46, 0x0e81...0x0eb0, 0x0eb2...0x0eb3, 0x0ebd...0x0ec6, 0x0edc...0x0edf,
      0x1000...0x102a, 0x103f, 0x1050...0x1055, 0x1780...0x17b3, 0x3005...0x3007, 0x3021...0x3029, 0x3041...0x3096,
      0x309d...0x309f, 0x3105...0x312f, 0x31a0...0x31bf, 0x3400...0x4dbf, 0x4e00...0x9fff, 0xf900...0xfaff, 0x20000...0x323af:
      return .unspaced
    case 0x30a1...0x30fa, 0x30fc...0x30ff, 0x31f0...0x31ff, 0xff66...0xff9f: return .katakana
    case 0x1f1e6...0x1f1ff: return .regional
    case 0x1f3fb...0x1f3ff: return .extend  // skin tones
    default: break
    }
    if UnicodeData.isWhitespace(code) { return .space }
    if UnicodeData.isLetter(code) { return .letter }
    if UnicodeData.isNumber(code) { return .digit }
    if UnicodeData.isMark(code) { return .extend }
    switch UnicodeData.category(code) {
    case .format, .control, .unassigned, .surrogate: return .extend
    default: return .punctuation
    }
  }
}
