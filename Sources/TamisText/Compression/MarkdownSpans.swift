/// Inline code, links and images of a Markdown text (CommonMark 0.31, sections 6.1, 6.3 and 6.4), within a paragraph.
enum MarkdownSpans {
  /// `code`, with as many back-ticks after as before.
  static func code(_ text: UnsafeBufferPointer<UInt8>, outside: [Range<Int>]) -> [Range<Int>] {
    search(text, outside) { i in
      guard text[i] == 0x60 else { return nil }
      let length = run(text, i)
      if let close = closing(text, from: i + length, length: length) { return i..<close }
      return i + length..<i + length
    }
  }

  /// [text](address), ![image](address) and [text][reference].
  static func links(_ text: UnsafeBufferPointer<UInt8>, outside: [Range<Int>]) -> [Range<Int>] {
    search(text, outside) { i in
      guard text[i] == 0x5b, i == 0 || text[i - 1] != 0x5c, let end = link(text, i) else { return nil }
      return (i > 0 && text[i - 1] == 0x21 ? i - 1 : i)..<end
    }
  }

  /// What `find` finds at the places outside of `outside`, from left to right, going on past each find. An empty range is no
  /// find but a place to go on from.
  private static func search(
    _ text: UnsafeBufferPointer<UInt8>, _ outside: [Range<Int>], _ find: (Int) -> Range<Int>?
  ) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var cursor = RangeCursor(outside)
    var i = 0
    while i < text.count {
      if let skip = cursor.overlapping(i, i + 1) {
        i = skip.upperBound
      } else if let range = find(i) {
        if !range.isEmpty { found.append(range) }
        i = range.upperBound
      } else {
        i += 1
      }
    }
    return found
  }

  private static func run(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    var i = start
    while i < text.count, text[i] == 0x60 { i += 1 }
    return i - start
  }

  /// Past the run of `length` back-ticks that closes, before the paragraph ends.
  private static func closing(_ text: UnsafeBufferPointer<UInt8>, from start: Int, length: Int) -> Int? {
    var i = start
    while i < text.count {
      if text[i] == 0x60 {
        let found = run(text, i)
        if found == length { return i + found }
        i += found
      } else {
        if text[i] == 0x0a, i + 1 < text.count, text[i + 1] == 0x0a { return nil }
        i += 1
      }
    }
    return nil
  }

  private static func link(_ text: UnsafeBufferPointer<UInt8>, _ open: Int) -> Int? {
    guard let label = balanced(text, open, 0x5b, 0x5d, limit: 2000), label < text.count else { return nil }
    if text[label] == 0x28 { return balanced(text, label, 0x28, 0x29, limit: 4000) }
    if text[label] == 0x5b { return balanced(text, label, 0x5b, 0x5d, limit: 1000) }
    return nil
  }

  /// Past the bracket that closes the one at `open`.
  private static func balanced(
    _ text: UnsafeBufferPointer<UInt8>, _ open: Int, _ left: UInt8, _ right: UInt8, limit: Int
  ) -> Int? {
    var depth = 0
    var i = open
    let end = min(text.count, open + limit)
    while i < end {
      let c = text[i]
      if c == 0x5c {
        i += 2
        continue
      }
      if c == left { depth += 1 }
      if c == right {
        depth -= 1
        if depth == 0 { return i + 1 }
      }
      if c == 0x0a, i + 1 < text.count, text[i + 1] == 0x0a { return nil }
      i += 1
    }
    return nil
  }
}
