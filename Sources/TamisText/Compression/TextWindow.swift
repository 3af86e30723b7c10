/// Cuts a long text to pieces that can be tokenised one by one: before a space that follows a letter or digit, where words and
/// counted tokens end in every tokenizer; else before any white space; else between two characters.
enum TextWindow {
  static func end(_ text: UnsafeBufferPointer<UInt8>, from start: Int, bytes: Int) -> Int {
    let limit = start + bytes
    if limit >= text.count { return text.count }
    var i = limit
    let least = start + bytes / 2
    var space: Int?
    while i > least {
      let c = text[i]
      if c == 0x20 || c == 0x0a {
        let before = text[i - 1]
        if c == 0x20, (0x61...0x7a).contains(before | 0x20) || (0x30...0x39).contains(before) { return i }
        if space == nil, before > 0x20 { space = i }
      }
      i -= 1
    }
    if let space { return space }
    i = limit
    while i > limit - 4, text[i] & 0xc0 == 0x80 { i -= 1 }
    return i > start ? i : limit
  }
}
