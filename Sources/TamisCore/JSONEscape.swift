/// The escapes of a JSON string (RFC 8259, section 7).
public enum JSONEscape {
  /// Reads what stands behind a backslash: `at` moves past it, and the character that it means is appended as UTF-8.
  /// - Throws: `format` with the byte offset at which the text stops making sense.
  public static func read(
    _ text: UnsafeRawBufferPointer, _ at: inout Int, into bytes: inout [UInt8]
  ) throws(TamisError) {
    guard at < text.count else { throw broken(at, "the text ends inside a string") }
    let c = text[at]
    at += 1
    switch c {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): bytes.append(c)
    case UInt8(ascii: "b"): bytes.append(0x08)
    case UInt8(ascii: "f"): bytes.append(0x0c)
    case UInt8(ascii: "n"): bytes.append(0x0a)
    case UInt8(ascii: "r"): bytes.append(0x0d)
    case UInt8(ascii: "t"): bytes.append(0x09)
    case UInt8(ascii: "u"):
      let code = try codePoint(text, &at)
      guard let scalar = Unicode.Scalar(code) else { throw broken(at, "half a surrogate pair") }
      bytes.append(contentsOf: UTF8.encode(scalar)!)
    default: throw broken(at, "an unknown escape")
    }
  }

  /// Behind \u: one code unit, or a surrogate pair as one code point.
  private static func codePoint(_ text: UnsafeRawBufferPointer, _ at: inout Int) throws(TamisError) -> UInt32 {
    let high = try fourDigits(text, &at)
    guard (0xd800..<0xdc00).contains(high) else { return high }
    guard text.count - at >= 2, text[at] == UInt8(ascii: "\\"), text[at + 1] == UInt8(ascii: "u") else {
      throw broken(at, "half a surrogate pair")
    }
    at += 2
    let low = try fourDigits(text, &at)
    guard (0xdc00..<0xe000).contains(low) else { throw broken(at, "half a surrogate pair") }
    return 0x10000 + (high - 0xd800) << 10 + (low - 0xdc00)
  }

  private static func fourDigits(_ text: UnsafeRawBufferPointer, _ at: inout Int) throws(TamisError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      guard at < text.count, let digit = hexDigit(text[at]) else { throw broken(at, "expected four hexadecimal digits") }
      code = code << 4 | UInt32(digit)
      at += 1
    }
    return code
  }

  private static func broken(_ at: Int, _ what: String) -> TamisError { TamisError(.format, "JSON, byte \(at): \(what)") }
}

/// Value of a hexadecimal digit in ASCII.
public func hexDigit(_ c: UInt8) -> UInt8? {
  switch c {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): c - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): c - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): c - UInt8(ascii: "A") + 10
  default: nil
  }
}
