/// UTF-8 that a caller or a file gave, and that may be ill-formed; `UTF8Text` reads what has passed here.
enum UTF8Input {
  /// Offset of the first byte that is no well-formed UTF-8, or n.
  static func validPrefix(_ bytes: UnsafePointer<UInt8>, _ n: Int) -> Int {
    let raw = UnsafeRawPointer(bytes)
    var i = 0
    while i < n {
      while i &+ 16 <= n {
        let word = raw.loadUnaligned(fromByteOffset: i, as: UInt64.self)
          | raw.loadUnaligned(fromByteOffset: i &+ 8, as: UInt64.self)
        if word & 0x8080_8080_8080_8080 != 0 { break }
        i &+= 16
      }
      while i < n, bytes[i] < 0x80 { i &+= 1 }
      while i < n, bytes[i] >= 0x80 {
        let (width, valid) = sequence(bytes + i, n &- i)
        if !valid { return i }
        i &+= width
      }
    }
    return n
  }

  /// Width of the sequence that begins here, and whether it is well formed; of an ill-formed one, the width of the maximal
  /// subpart that one U+FFFD stands for (Unicode 3.9, table 3-7).
  @inline(__always)
  static func sequence(_ bytes: UnsafePointer<UInt8>, _ left: Int) -> (width: Int, valid: Bool) {
    let lead = bytes[0]
    if lead < 0x80 { return (1, true) }
    var low: UInt8 = 0x80
    var high: UInt8 = 0xbf
    let width: Int
    switch lead {
    case 0xc2...0xdf: width = 2
    case 0xe0:
      width = 3
      low = 0xa0
    case 0xed:
      width = 3
      high = 0x9f
    case 0xe1...0xef: width = 3
    case 0xf0:
      width = 4
      low = 0x90
    case 0xf4:
      width = 4
      high = 0x8f
    case 0xf1...0xf3: width = 4
    default: return (1, false)
    }
    guard left > 1, bytes[1] >= low, bytes[1] <= high else { return (1, false) }
    var i = 2
    while i < width {
      guard i < left, bytes[i] & 0xc0 == 0x80 else { return (i, false) }
      i &+= 1
    }
    return (width, true)
  }

  static let replacement: [UInt8] = [0xef, 0xbf, 0xbd]

  /// The bytes with U+FFFD for each maximal ill-formed part.
  static func repaired(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    guard let base = bytes.baseAddress else { return [] }
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count)
    var i = 0
    while i < bytes.count {
      let valid = validPrefix(base + i, bytes.count - i)
      out.append(contentsOf: UnsafeBufferPointer(start: base + i, count: valid))
      i += valid
      if i == bytes.count { break }
      out.append(contentsOf: replacement)
      i += sequence(base + i, bytes.count - i).width
    }
    return out
  }
}
