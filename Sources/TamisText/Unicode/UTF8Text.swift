/// Scalars of UTF-8 that is known to be valid (`UTF8Input`): no check but the lead byte.
enum UTF8Text {
  /// The scalar that starts at `at`, and its length in bytes.
  @inline(__always)
  static func scalar(_ bytes: UnsafePointer<UInt8>, at: Int) -> (value: UInt32, length: Int) {
    let lead = UInt32(bytes[at])
    if lead < 0x80 { return (lead, 1) }
    let second = UInt32(bytes[at &+ 1] & 0x3f)
    if lead < 0xe0 { return ((lead & 0x1f) << 6 | second, 2) }
    let third = UInt32(bytes[at &+ 2] & 0x3f)
    if lead < 0xf0 { return ((lead & 0x0f) << 12 | second << 6 | third, 3) }
    return ((lead & 0x07) << 18 | second << 12 | third << 6 | UInt32(bytes[at &+ 3] & 0x3f), 4)
  }

  /// Length of a scalar by its lead byte.
  @inline(__always)
  static func length(lead: UInt8) -> Int { lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4 }

  @inline(__always)
  static func length(of scalar: UInt32) -> Int { scalar < 0x80 ? 1 : scalar < 0x800 ? 2 : scalar < 0x10000 ? 3 : 4 }

  @inline(__always)
  static func isContinuation(_ byte: UInt8) -> Bool { byte & 0xc0 == 0x80 }

  /// Where the scalar that ends at `end` starts.
  @inline(__always)
  static func start(_ bytes: UnsafePointer<UInt8>, before end: Int) -> Int {
    var at = end &- 1
    while isContinuation(bytes[at]) { at &-= 1 }
    return at
  }

  /// Writes a scalar and returns its length.
  @inline(__always)
  static func write(_ scalar: UInt32, to bytes: UnsafeMutablePointer<UInt8>) -> Int {
    if scalar < 0x80 {
      bytes[0] = UInt8(truncatingIfNeeded: scalar)
      return 1
    }
    let last = UInt8(truncatingIfNeeded: scalar & 0x3f) | 0x80
    if scalar < 0x800 {
      bytes[0] = UInt8(truncatingIfNeeded: scalar >> 6) | 0xc0
      bytes[1] = last
      return 2
    }
    let third = UInt8(truncatingIfNeeded: scalar >> 6 & 0x3f) | 0x80
    if scalar < 0x10000 {
      bytes[0] = UInt8(truncatingIfNeeded: scalar >> 12) | 0xe0
      bytes[1] = third
      bytes[2] = last
      return 3
    }
    bytes[0] = UInt8(truncatingIfNeeded: scalar >> 18) | 0xf0
    bytes[1] = UInt8(truncatingIfNeeded: scalar >> 12 & 0x3f) | 0x80
    bytes[2] = third
    bytes[3] = last
    return 4
  }
}
