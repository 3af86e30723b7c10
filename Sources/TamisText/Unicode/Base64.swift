/// Base64 with the standard alphabet and padding (RFC 4648, section 4).
public enum Base64 {
  /// nil: a character out of the alphabet, or a length or padding that no encoder writes.
  public static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3)
    var word: UInt32 = 0
    var held = 0
    var padding = 0
    for character in text {
      if character == UInt8(ascii: "=") {
        padding += 1
        held += 1
        word <<= 6
      } else {
        guard padding == 0, let value = value(character) else { return nil }
        word = word << 6 | value
        held += 1
      }
      if held == 4 {
        if padding > 2 { return nil }
        for i in 0..<3 - padding { bytes.append(UInt8(truncatingIfNeeded: word >> UInt32(16 - 8 * i))) }
        word = 0
        held = 0
      }
    }
    return held == 0 ? bytes : nil
  }

  @inline(__always)
  private static func value(_ c: UInt8) -> UInt32? {
    switch c {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(c) - 65
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(c) - 71
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(c) + 4
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }
}
