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
      0x1000...0x102a, 0x103f, 0x1050...0x1055, 0x1780...0x17b3, 0x3005...0x3007, 0x3021...0x3029, 0x3041...0x3096, 0x309d...0x309f,
      0x3105...0x312f, 0x31a0...0x31bf, 0x3400...0x4dbf, 0x4e00...0x9fff, 0xf900...0xfaff, 0x20000...0x323af:
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

/// Reading scalars of a text that may not be UTF-8: an ill-formed byte is U+FFFD and one byte long.
struct ScalarReader {
  let bytes: UnsafeBufferPointer<UInt8>

  /// The scalar that begins at i, and its length.
  @inline(__always)
  func scalar(at i: Int) -> (code: UInt32, length: Int) {
    let first = bytes[i]
    if first < 0x80 { return (UInt32(first), 1) }
    return wide(at: i, UInt32(first))
  }

  private func wide(at i: Int, _ first: UInt32) -> (code: UInt32, length: Int) {
    let length = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xc2 && first < 0xe0 ? 2 : 0
    guard length > 0, i + length <= bytes.count else { return (0xfffd, 1) }
    var code = first & (0x7f >> UInt32(length))
    for k in 1..<length {
      let next = UInt32(bytes[i + k])
      guard next & 0xc0 == 0x80 else { return (0xfffd, 1) }
      code = code << 6 | (next & 0x3f)
    }
    let least: UInt32 = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80
    guard code >= least, code < 0x110000, !(0xd800..<0xe000).contains(code) else { return (0xfffd, 1) }
    return (code, length)
  }

  /// The scalar that ends before i (i > 0), and its length.
  @inline(__always)
  func scalar(before i: Int) -> (code: UInt32, length: Int) {
    let last = bytes[i - 1]
    if last < 0x80 { return (UInt32(last), 1) }
    var start = i - 1
    while start > 0, i - start < 4, bytes[start] & 0xc0 == 0x80 { start -= 1 }
    let found = scalar(at: start)
    return start + found.length == i ? found : (0xfffd, 1)
  }

  func classBefore(_ i: Int) -> ScalarClass { ScalarClass(scalar(before: i).code) }
  func classAt(_ i: Int) -> ScalarClass { ScalarClass(scalar(at: i).code) }

  /// The first byte from i on that begins no white space, at most `end`.
  func skippingSpace(from i: Int, to end: Int) -> Int {
    var i = i
    while i < end {
      let next = scalar(at: i)
      if ScalarClass(next.code) != .space { break }
      i += next.length
    }
    return min(i, end)
  }

  /// The end of the last scalar before `end` that is no white space, at least `start`.
  func trimmingSpace(from start: Int, to end: Int) -> Int {
    var end = end
    while end > start {
      let last = scalar(before: end)
      if ScalarClass(last.code) != .space { break }
      end -= last.length
    }
    return max(end, start)
  }

  /// Whether [start, end) holds white space.
  func hasSpace(_ start: Int, _ end: Int) -> Bool {
    var i = start
    while i < end {
      let next = scalar(at: i)
      if ScalarClass(next.code) == .space { return true }
      i += next.length
    }
    return false
  }
}
