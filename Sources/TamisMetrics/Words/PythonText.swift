import CShims

/// Text as the reference packages see it, which are written in Python: its white space, its lower case, its word characters.
enum PythonText {
  /// `str.isspace`: White_Space, and the four separators of ASCII.
  @inline(__always)
  static func isSpace(_ c: UInt32) -> Bool {
    c < 0x80 ? c == 0x20 || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) : ts_category(c) & 32 != 0
  }

  /// `\w` of re.
  static func isWord(_ c: UInt32) -> Bool { c == 0x5f || isCategory(c, 0xe3e) }
  /// N*
  static func isNumber(_ c: UInt32) -> Bool { isCategory(c, 0xe00) }
  /// P*
  static func isPunctuation(_ c: UInt32) -> Bool { isCategory(c, 0x7f000) }
  /// S*
  static func isSymbol(_ c: UInt32) -> Bool { isCategory(c, 0x780000) }

  /// One bit for each general category, by its place in the tables.
  @inline(__always)
  private static func isCategory(_ c: UInt32, _ set: UInt32) -> Bool { set >> UInt32(ts_category(c) & 31) & 1 != 0 }

  /// `string.punctuation`
  @inline(__always)
  static func isASCIIPunctuation(_ c: UInt32) -> Bool {
    (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e)
  }

  /// The code points of bytes; each maximal ill-formed part is U+FFFD (Unicode 3.9, table 3-7), as `errors="replace"`.
  static func decode(_ bytes: UnsafeBufferPointer<UInt8>, into out: inout [UInt32]) {
    out.removeAll(keepingCapacity: true)
    out.append(contentsOf: repeatElement(0, count: bytes.count))
    let used = out.withUnsafeMutableBufferPointer { out in
      var n = 0
      scan(bytes) { c, _ in
        out[n] = c
        n = n &+ 1
      }
      return n
    }
    out.removeLast(bytes.count - used)
  }

  /// Calls `body` with each of them, and with whether it was well-formed.
  @inline(__always)
  static func scan(_ bytes: UnsafeBufferPointer<UInt8>, _ body: (_ c: UInt32, _ isWellFormed: Bool) -> Void) {
    var i = 0
    while i < bytes.count {
      let (value, width, isWellFormed) = scalar(bytes, i)
      body(value, isWellFormed)
      i = i &+ width
    }
  }

  /// UTF-8 of a code point.
  static func encode(_ c: UInt32, into out: inout [UInt8]) {
    func tail(_ shift: UInt32) -> UInt8 { UInt8(0x80 | c >> shift & 0x3f) }
    switch c {
    case 0..<0x80: out.append(UInt8(c))
    case 0x80..<0x800: out += [UInt8(0xc0 | c >> 6), tail(0)]
    case 0x800..<0x1_0000: out += [UInt8(0xe0 | c >> 12), tail(6), tail(0)]
    default: out += [UInt8(truncatingIfNeeded: 0xf0 | c >> 18), tail(12), tail(6), tail(0)]
    }
  }

  /// The code point at byte i, how many bytes it or the ill-formed part takes, and whether it was well-formed.
  @inline(__always)
  static func scalar(_ bytes: UnsafeBufferPointer<UInt8>, _ i: Int) -> (value: UInt32, width: Int, isWellFormed: Bool) {
    let lead = bytes[i]
    if lead < 0x80 { return (UInt32(lead), 1, true) }
    let (width, low, high): (Int, UInt8, UInt8)
    switch lead {
    case 0xc2...0xdf: (width, low, high) = (2, 0x80, 0xbf)
    case 0xe0: (width, low, high) = (3, 0xa0, 0xbf)
    case 0xed: (width, low, high) = (3, 0x80, 0x9f)
    case 0xe1...0xef: (width, low, high) = (3, 0x80, 0xbf)
    case 0xf0: (width, low, high) = (4, 0x90, 0xbf)
    case 0xf1...0xf3: (width, low, high) = (4, 0x80, 0xbf)
    case 0xf4: (width, low, high) = (4, 0x80, 0x8f)
    default: (width, low, high) = (1, 0, 0)
    }
    var value = UInt32(lead) & (0x7f >> UInt32(width))
    var used = 1
    while used < width, i &+ used < bytes.count {
      let next = bytes[i &+ used]
      guard next >= (used == 1 ? low : 0x80) && next <= (used == 1 ? high : 0xbf) else { break }
      value = value << 6 | UInt32(next & 0x3f)
      used = used &+ 1
    }
    let isWellFormed = width > 1 && used == width
    return (isWellFormed ? value : 0xfffd, used, isWellFormed)
  }

  /// `str.lower`: U+0130 becomes two characters, and a capital sigma at the end of a word is a final one.
  static func lowercase(_ text: inout [UInt32]) {
    var hasSpecial = false
    for i in 0..<text.count {
      let c = text[i]
      if c < 0x80 {
        if c >= 0x41 && c <= 0x5a { text[i] = c + 0x20 }
      } else if c == 0x130 || c == 0x3a3 {
        hasSpecial = true
      } else {
        text[i] = ts_lower(c)
      }
    }
    guard hasSpecial else { return }
    var out: [UInt32] = []
    for (i, c) in text.enumerated() {
      if c == 0x130 {
        out += [0x69, 0x307]
      } else if c == 0x3a3 {
        let isAfterLetter = nearestCased(text[..<i].reversed())
        out.append(isAfterLetter && !nearestCased(text[(i + 1)...]) ? 0x3c2 : 0x3c3)
      } else {
        out.append(c)
      }
    }
    text = out
  }

  /// Whether the first character that is not case-ignorable has case.
  private static func nearestCased(_ text: some Sequence<UInt32>) -> Bool {
    for c in text {
      // Mn, Me, Cf, Lm, Sk, and the marks inside words.
      if isCategory(c, 1 << 4 | 1 << 6 | 1 << 8 | 1 << 21 | 1 << 27) || [0x27, 0x2e, 0x3a, 0xb7, 0x2018, 0x2019].contains(c) {
        continue
      }
      return isCategory(c, 0b1110)
    }
    return false
  }
}
