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

  /// Bytes of the white space character (White_Space) that begins at i; 0: none does.
  @inline(__always)
  func spaceLength(at i: Int) -> Int {
    guard i < bytes.count else { return 0 }
    let next = scalar(at: i)
    return UnicodeData.isWhitespace(next.code) ? next.length : 0
  }

  /// Whether a white space character ends just before i.
  func endsInSpace(before i: Int) -> Bool { i > 0 && UnicodeData.isWhitespace(scalar(before: i).code) }

  /// The first byte from i on that begins no white space, at most `end`.
  func skippingSpace(from i: Int, to end: Int) -> Int {
    var i = i
    while i < end {
      let length = spaceLength(at: i)
      if length == 0 { break }
      i += length
    }
    return min(i, end)
  }

  /// Where the first white space from i on begins, at most `end`.
  func nextSpace(from i: Int, to end: Int) -> Int {
    var i = i
    while i < end {
      let next = scalar(at: i)
      if UnicodeData.isWhitespace(next.code) { break }
      i += next.length
    }
    return min(i, end)
  }

  /// The end of the last scalar before `end` that is no white space, at least `start`.
  func trimmingSpace(from start: Int, to end: Int) -> Int {
    var end = end
    while end > start, endsInSpace(before: end) { end -= scalar(before: end).length }
    return max(end, start)
  }

  /// Whether [start, end) holds white space.
  func hasSpace(_ start: Int, _ end: Int) -> Bool { nextSpace(from: start, to: end) < end }

  /// Whether [start, end) holds a decimal digit (category Nd), which is what \d of Python's re matches.
  func hasDigit(_ start: Int, _ end: Int) -> Bool {
    var i = start
    while i < end {
      let next = scalar(at: i)
      if UnicodeData.category(next.code) == .decimalNumber { return true }
      i += next.length
    }
    return false
  }
}
