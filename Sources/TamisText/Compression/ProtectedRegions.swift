/// The parts of a text that are one word each, and those that protection keeps as they are.
struct ProtectedRegions {
  /// Kept verbatim; ascending, apart.
  private(set) var kept: [Range<Int>] = []
  /// Addresses, and the table rows that protection keeps or drops whole; ascending, apart.
  private(set) var words: [Range<Int>]

  init(_ text: UnsafeBufferPointer<UInt8>, _ protect: Protection) {
    words = WebAddresses.find(in: text)
    if protect.contains(.urls) { kept += words }
    if !protect.isDisjoint(with: [.code, .tables, .links]) {
      let fences = MarkdownBlocks.fences(text)
      if protect.contains(.code) { kept += fences + MarkdownSpans.code(text, outside: fences) }
      if protect.contains(.tables) {
        let tables = MarkdownBlocks.tables(text, outside: fences)
        kept += tables.heads
        words = Self.united(words + tables.rows)
      }
      if protect.contains(.links) { kept += MarkdownSpans.links(text, outside: fences) }
    }
    kept = Self.united(kept)
  }

  /// Sorted, with what overlaps or touches made one.
  static func united(_ ranges: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for range in ranges.sorted(by: { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }) where !range.isEmpty {
      if let last = result.last, range.lowerBound <= last.upperBound {
        result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }
}

/// Walks ascending ranges beside ascending positions.
struct RangeCursor {
  private let ranges: [Range<Int>]
  private var next = 0

  init(_ ranges: [Range<Int>]) { self.ranges = ranges }

  /// The first range that ends after `start`, if it begins before `end`. Calls come with ascending `start`.
  mutating func overlapping(_ start: Int, _ end: Int) -> Range<Int>? {
    while next < ranges.count, ranges[next].upperBound <= start { next += 1 }
    guard next < ranges.count, ranges[next].lowerBound < end else { return nil }
    return ranges[next]
  }
}
