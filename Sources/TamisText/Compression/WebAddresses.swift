/// URLs and e-mail addresses of a text: what is one word, and what protection keeps. Plain scans around "://", "www." and "@".
enum WebAddresses {
  /// Ascending, apart.
  static func find(in text: UnsafeBufferPointer<UInt8>) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var i = 0
    while i < text.count {
      let c = text[i]
      var hit: Range<Int>?
      if c == 0x3a {
        hit = url(text, colon: i)
      } else if c == 0x77 || c == 0x57 {
        hit = www(text, at: i)
      } else if c == 0x40 {
        hit = mail(text, at: i)
      }
      if let hit, hit.lowerBound >= found.last?.upperBound ?? 0 {
        found.append(hit)
        i = hit.upperBound
      } else {
        i += 1
      }
    }
    return found
  }

  private static func url(_ text: UnsafeBufferPointer<UInt8>, colon: Int) -> Range<Int>? {
    guard colon + 3 < text.count, text[colon + 1] == 0x2f, text[colon + 2] == 0x2f else { return nil }
    var start = colon
    while start > 0, colon - start < 20, isSchemeByte(text[start - 1]) { start -= 1 }
    while start < colon, !isLetter(text[start]) { start += 1 }
    guard start < colon else { return nil }
    let end = addressEnd(text, from: colon + 3)
    return end > colon + 3 ? start..<end : nil
  }

  private static func www(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Range<Int>? {
    guard i + 4 < text.count, text[i] | 0x20 == 0x77, text[i + 1] | 0x20 == 0x77, text[i + 2] | 0x20 == 0x77,
      text[i + 3] == 0x2e, i == 0 || !isAddressByte(text[i - 1]) || isOpening(text[i - 1])
    else { return nil }
    let end = addressEnd(text, from: i + 4)
    return end > i + 4 ? i..<end : nil
  }

  private static func mail(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Range<Int>? {
    var start = i
    while start > 0, isMailByte(text[start - 1]), i - start < 64 { start -= 1 }
    var end = i + 1
    var dot = false
    while end < text.count, isDigitOrLetter(text[end]) || text[end] == 0x2d || text[end] == 0x2e, end - i < 256 {
      if text[end] == 0x2e { dot = true }
      end += 1
    }
    while end > i + 1, !isDigitOrLetter(text[end - 1]) { end -= 1 }
    guard start < i, end > i + 3, dot, text[i + 1..<end].contains(0x2e) else { return nil }
    return start..<end
  }

  /// White space, quotes, angle brackets and anything beyond ASCII that is no letter end an address; trailing punctuation and a
  /// bracket that was not opened inside are not a part of it.
  private static func addressEnd(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
    var end = start
    var open = 0
    while end < text.count, isAddressByte(text[end]) {
      if text[end] == 0x28 { open += 1 }
      if text[end] == 0x29 {
        if open == 0 { break }
        open -= 1
      }
      end += 1
    }
    while end > start, isTrailing(text[end - 1]) { end -= 1 }
    return end
  }

  private static func isLetter(_ c: UInt8) -> Bool { (c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a }
  private static func isDigitOrLetter(_ c: UInt8) -> Bool { isLetter(c) || (0x30...0x39).contains(c) }
  private static func isSchemeByte(_ c: UInt8) -> Bool { isDigitOrLetter(c) || c == 0x2b || c == 0x2d || c == 0x2e }
  private static func isMailByte(_ c: UInt8) -> Bool { isSchemeByte(c) || c == 0x5f || c == 0x25 }
  private static func isOpening(_ c: UInt8) -> Bool { c == 0x28 || c == 0x5b || c == 0x2c || c == 0x3b || c == 0x3d }
  /// RFC 3986's characters.
  private static func isAddressByte(_ c: UInt8) -> Bool {
    if isDigitOrLetter(c) { return true }
    switch c {
    // ! # $ % & ' ( ) * + , - . / : ; = ? @ [ ] _ ~
    case 0x21, 0x23...0x2f, 0x3a, 0x3b, 0x3d, 0x3f, 0x40, 0x5b, 0x5d, 0x5f, 0x7e: return true
    default: return false
    }
  }
  private static func isTrailing(_ c: UInt8) -> Bool {
    switch c {
    case 0x21, 0x27, 0x2a, 0x2c, 0x2e, 0x3a, 0x3b, 0x3f, 0x5b, 0x5d: true  // ! ' * , . : ; ? [ ]
    default: false
    }
  }
}
