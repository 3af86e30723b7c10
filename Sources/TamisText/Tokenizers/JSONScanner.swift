import TamisCore

/// One pass over a JSON text whose large parts (vocabularies, merges) go straight into flat arrays; small parts become `JSON`.
/// The text is checked to be UTF-8 when the scanner is made, so strings need no further check.
struct JSONScanner {
  let text: UnsafeBufferPointer<UInt8>
  var at = 0
  private var depth = 0
  /// Bytes of the string read last.
  private(set) var bytes: [UInt8] = []

  init(_ text: UnsafeBufferPointer<UInt8>) throws(TamisError) {
    self.text = text
    if let base = text.baseAddress {
      let valid = UTF8Input.validPrefix(base, text.count)
      if valid < text.count { throw TamisError(.format, "JSON, byte \(valid): not UTF-8") }
      if text.count >= 3, text[0] == 0xef, text[1] == 0xbb, text[2] == 0xbf { at = 3 }
    }
  }

  /// A value inside a text that was checked before.
  init(checked text: UnsafeBufferPointer<UInt8>) { self.text = text }

  func broken(_ what: String) -> TamisError { TamisError(.format, "JSON, byte \(at): \(what)") }

  @inline(__always)
  mutating func skipSpace() {
    while at < text.count {
      let c = text[at]
      if c > 0x20 { return }
      guard c == 0x20 || c == 0x0a || c == 0x0d || c == 0x09 else { return }
      at &+= 1
    }
  }

  /// The first byte of the next value; 0 at the end.
  mutating func peek() -> UInt8 {
    skipSpace()
    return at < text.count ? text[at] : 0
  }

  mutating func take(_ c: Unicode.Scalar) -> Bool {
    guard at < text.count, text[at] == UInt8(ascii: c) else { return false }
    at &+= 1
    return true
  }

  /// Calls `member` at each value of an object, the name being in `bytes`. `member` must read the value.
  mutating func object(_ member: (inout JSONScanner) throws(TamisError) -> Void) throws(TamisError) {
    skipSpace()
    guard take("{") else { throw broken("expected {") }
    skipSpace()
    if take("}") { return }
    while true {
      try string()
      skipSpace()
      guard take(":") else { throw broken("expected :") }
      skipSpace()
      try member(&self)
      skipSpace()
      if take("}") { return }
      guard take(",") else { throw broken("expected , or }") }
      skipSpace()
    }
  }

  /// Calls `element` at each value of an array. `element` must read the value.
  mutating func array(_ element: (inout JSONScanner) throws(TamisError) -> Void) throws(TamisError) {
    skipSpace()
    guard take("[") else { throw broken("expected [") }
    skipSpace()
    if take("]") { return }
    while true {
      try element(&self)
      skipSpace()
      if take("]") { return }
      guard take(",") else { throw broken("expected , or ]") }
      skipSpace()
    }
  }

  /// Reads a string into `bytes`.
  mutating func string() throws(TamisError) {
    bytes.removeAll(keepingCapacity: true)
    try appendString()
  }

  /// Appends a string to `bytes`, behind what is there.
  mutating func appendString() throws(TamisError) {
    guard take("\"") else { throw broken("expected a string") }
    let base = text.baseAddress!
    while true {
      let first = at
      while at < text.count {
        let c = base[at]
        if c == UInt8(ascii: "\"") || c == UInt8(ascii: "\\") || c < 0x20 { break }
        at &+= 1
      }
      bytes.append(contentsOf: UnsafeBufferPointer(start: base + first, count: at - first))
      guard at < text.count else { throw broken("the text ends inside a string") }
      if take("\"") { return }
      guard take("\\") else { throw broken("a control character inside a string") }
      try escape()
    }
  }

  mutating func separate(_ byte: UInt8) { bytes.append(byte) }

  private mutating func escape() throws(TamisError) {
    guard at < text.count else { throw broken("the text ends inside a string") }
    let c = text[at]
    at &+= 1
    switch c {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(c)
    case UInt8(ascii: "b"): bytes.append(0x08)
    case UInt8(ascii: "f"): bytes.append(0x0c)
    case UInt8(ascii: "n"): bytes.append(0x0a)
    case UInt8(ascii: "r"): bytes.append(0x0d)
    case UInt8(ascii: "t"): bytes.append(0x09)
    case UInt8(ascii: "u"):
      var scalar = try fourHexDigits()
      if scalar & 0xf800 == 0xd800 {
        guard scalar < 0xdc00, take("\\"), take("u") else { throw broken("half a surrogate pair") }
        let low = try fourHexDigits()
        guard low & 0xfc00 == 0xdc00 else { throw broken("half a surrogate pair") }
        scalar = 0x10000 + (scalar - 0xd800) << 10 + (low - 0xdc00)
      }
      UTF8Input.append(scalar, to: &bytes)
    default: throw broken("an unknown escape")
    }
  }

  private mutating func fourHexDigits() throws(TamisError) -> UInt32 {
    guard text.count - at >= 4 else { throw broken("expected four hexadecimal digits") }
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = hexDigit(text[at]) else { throw broken("expected four hexadecimal digits") }
      code = code << 4 | UInt32(digit)
      at &+= 1
    }
    return code
  }

  /// A whole number of at most 18 digits.
  mutating func integer() throws(TamisError) -> Int {
    let negative = take("-")
    var value = 0
    let first = at
    while at < text.count, case let digit = text[at] &- UInt8(ascii: "0"), digit < 10 {
      guard at - first < 18 else { throw broken("a whole number of more than 18 digits") }
      value = value &* 10 &+ Int(digit)
      at &+= 1
    }
    guard at > first else { throw broken("expected a whole number") }
    if at < text.count, text[at] == UInt8(ascii: ".") || text[at] | 0x20 == UInt8(ascii: "e") {
      throw broken("expected a whole number")
    }
    return negative ? -value : value
  }

  /// A finite number, by the arithmetic of the peer's reader: the digits as a whole number, as many as fit 64 bits, times or
  /// divided by one power of ten. It can be off by one in the last place, and scores that are off decide ties of a Unigram
  /// model;
  /// a better reader would cut such text differently.
  mutating func number() throws(TamisError) -> Double {
    let negative = take("-")
    var significand: UInt64 = 0
    var exponent = 0
    var digits = 0
    var isFull = false
    var seenPoint = false
    while at < text.count {
      let digit = text[at] &- UInt8(ascii: "0")
      if digit < 10 {
        digits &+= 1
        let (tens, overflow) = significand.multipliedReportingOverflow(by: 10)
        let (sum, carry) = tens.addingReportingOverflow(UInt64(digit))
        if isFull || overflow || carry {
          isFull = true
          if !seenPoint { exponent &+= 1 }
        } else {
          significand = sum
          if seenPoint { exponent &-= 1 }
        }
      } else if text[at] == UInt8(ascii: "."), !seenPoint {
        seenPoint = true
      } else {
        break
      }
      at &+= 1
    }
    guard digits > 0 else { throw broken("expected a number") }
    if at < text.count, text[at] | 0x20 == UInt8(ascii: "e") {
      at &+= 1
      _ = take("+")
      let written = try integer()
      guard written.magnitude < 100_000 else { throw broken("expected a number that a double can hold") }
      exponent += written
    }
    var value = Double(significand)
    while value != 0, exponent < -308 {
      value /= 1e308
      exponent += 308
    }
    if value != 0, exponent <= 308 {
      let power = Self.powers[min(Int(exponent.magnitude), 308)]
      value = exponent < 0 ? value / power : value * power
    }
    guard value == 0 || exponent <= 308, value.isFinite else { throw broken("expected a number that a double can hold") }
    return negative ? -value : value
  }

  private static let powers: [Double] = (0...308).map { Double("1e\($0)") ?? .infinity }

  mutating func bool() throws(TamisError) -> Bool {
    if try word("true") { return true }
    if try word("false") { return false }
    throw broken("expected true or false")
  }

  mutating func null() throws(TamisError) -> Bool { try word("null") }

  private mutating func word(_ word: StaticString) throws(TamisError) -> Bool {
    let n = word.utf8CodeUnitCount
    guard text.count - at >= n else { return false }
    for i in 0..<n where text[at + i] != word.utf8Start[i] { return false }
    at &+= n
    return true
  }

  /// Passes over a value and gives where it stands. Strings and brackets are followed; what is between them is for whoever
  /// reads it.
  mutating func skip() throws(TamisError) -> Range<Int> {
    skipSpace()
    let first = at
    var open: [UInt8] = []
    repeat {
      skipSpace()
      guard at < text.count else { throw broken("the text ends inside a value") }
      let c = text[at]
      switch c {
      case UInt8(ascii: "\""): try skipString()
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        open.append(c)
        at &+= 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        guard open.popLast() == (c == UInt8(ascii: "}") ? UInt8(ascii: "{") : UInt8(ascii: "[")) else {
          throw broken("a bracket that was not opened")
        }
        at &+= 1
      default:
        guard !open.isEmpty || (c != UInt8(ascii: ",") && c != UInt8(ascii: ":")) else { throw broken("expected a value") }
        at &+= 1
        if open.isEmpty {
          while at < text.count, !isDelimiter(text[at]) { at &+= 1 }
        }
      }
    } while !open.isEmpty
    return first..<at
  }

  private func isDelimiter(_ c: UInt8) -> Bool {
    c <= 0x20 || c == UInt8(ascii: ",") || c == UInt8(ascii: "}") || c == UInt8(ascii: "]")
  }

  private mutating func skipString() throws(TamisError) {
    at &+= 1
    while at < text.count {
      let c = text[at]
      at &+= 1
      if c == UInt8(ascii: "\"") { return }
      if c == UInt8(ascii: "\\") { at &+= 1 }
    }
    throw broken("the text ends inside a string")
  }

  /// A small value as a tree.
  mutating func tree() throws(TamisError) -> JSON {
    let range = try skip()
    return try JSON(UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: text[range])))
  }
}

/// Value of a hexadecimal digit.
@inline(__always)
func hexDigit(_ c: UInt8) -> UInt8? {
  switch c {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): return c - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): return c - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): return c - UInt8(ascii: "A") + 10
  default: return nil
  }
}
