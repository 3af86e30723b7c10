/// Fenced code blocks and tables of a Markdown text (CommonMark 0.31, section 4.5; GFM tables).
enum MarkdownBlocks {
  /// From the opening fence's first byte to the end of the closing fence's line, or of the text when it is not closed.
  static func fences(_ text: UnsafeBufferPointer<UInt8>) -> [Range<Int>] {
    var found: [Range<Int>] = []
    var open: (start: Int, mark: UInt8, length: Int)?
    var line = 0
    while line < text.count {
      let end = lineEnd(text, line)
      if let fence = fence(text, line, end) {
        if let opened = open {
          if fence.mark == opened.mark, fence.length >= opened.length, isBlank(text, fence.end, end) {
            found.append(opened.start..<end)
            open = nil
          }
        } else if fence.mark == 0x7e || !text[fence.end..<end].contains(0x60) {
          open = (fence.start, fence.mark, fence.length)
        }
      }
      line = end + 1
    }
    if let open { found.append(open.start..<text.count) }
    return found
  }

  /// Tables: head and rule lines, and the other rows, each without its line break. `outside` holds what is no Markdown.
  static func tables(_ text: UnsafeBufferPointer<UInt8>, outside: [Range<Int>]) -> (heads: [Range<Int>], rows: [Range<Int>]) {
    var heads: [Range<Int>] = []
    var rows: [Range<Int>] = []
    var cursor = RangeCursor(outside)
    var previous: Range<Int>?
    var inTable = false
    var line = 0
    while line < text.count {
      let end = lineEnd(text, line)
      let row = trimmed(text, line, end)
      if cursor.overlapping(line, max(end, line + 1)) != nil || row.isEmpty {
        inTable = false
        previous = nil
      } else if inTable {
        if text[row].contains(0x7c) { rows.append(row) } else { inTable = false }
      } else if let head = previous, isRule(text, row), text[head].contains(0x7c) {
        heads.append(head)
        heads.append(row)
        inTable = true
      }
      previous = row.isEmpty ? nil : row
      line = end + 1
    }
    return (heads, rows)
  }

  private static func lineEnd(_ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int {
    var i = start
    while i < text.count, text[i] != 0x0a { i += 1 }
    return i
  }

  private static func trimmed(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Range<Int> {
    var start = start
    var end = end
    while start < end, isBlankByte(text[start]) { start += 1 }
    while end > start, isBlankByte(text[end - 1]) { end -= 1 }
    return start..<end
  }

  private static func isBlankByte(_ c: UInt8) -> Bool { c == 0x20 || c == 0x09 || c == 0x0d }
  private static func isBlank(_ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ end: Int) -> Bool {
    text[start..<end].allSatisfy(isBlankByte)
  }

  private static func fence(_ text: UnsafeBufferPointer<UInt8>, _ line: Int, _ lineEnd: Int)
    -> (start: Int, mark: UInt8, length: Int, end: Int)?
  {
    var i = line
    while i < lineEnd, text[i] == 0x20 || text[i] == 0x09 { i += 1 }
    guard i < lineEnd, text[i] == 0x60 || text[i] == 0x7e else { return nil }
    let mark = text[i]
    var end = i
    while end < lineEnd, text[end] == mark { end += 1 }
    return end - i >= 3 ? (i, mark, end - i, end) : nil
  }

  /// |---|:-:| with at least one dash, and nothing else.
  private static func isRule(_ text: UnsafeBufferPointer<UInt8>, _ row: Range<Int>) -> Bool {
    var dashes = 0
    var bars = 0
    for i in row {
      switch text[i] {
      case 0x2d: dashes += 1
      case 0x7c: bars += 1
      case 0x3a, 0x20, 0x09: break
      default: return false
      }
    }
    return dashes > 0 && bars > 0
  }
}
