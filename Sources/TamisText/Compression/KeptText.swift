/// Use: the text that a selection of units leaves.
public enum KeptText {
  /// The spans that units `indices` (ascending) leave: neighbours i, i + 1 become one span with what lies between them. Units
  /// ascend; those that overlap (tokens that share a character) are joined too. Empty units leave nothing.
  public static func spans(_ units: UnsafeBufferPointer<TextSpan>, _ indices: UnsafeBufferPointer<Int32>) -> [TextSpan] {
    var runs: [TextSpan] = []
    var last = -2
    for index in indices {
      let unit = units[Int(index)]
      if unit.isEmpty {
        // An empty unit between two neighbours does not part them.
        if last == Int(index) - 1 { last = Int(index) }
        continue
      }
      if let run = runs.last, last == Int(index) - 1 || unit.start <= run.end {
        runs[runs.count - 1].end = max(run.end, unit.end)
      } else {
        runs.append(unit)
      }
      last = Int(index)
    }
    return runs
  }

  /// The bytes of ascending spans. Where words were cut one separator stands for the white space around them: a line break if
  /// there was one, else a space; nothing where there was none, or where an edge of a span is white space already.
  public static func joined(_ text: TextBytes, _ spans: UnsafeBufferPointer<TextSpan>) -> [UInt8] {
    var out: [UInt8] = []
    var end: Int?
    for span in spans where !span.isEmpty {
      if let end, let separator = separator(text, end, Int(span.start)) { out.append(separator) }
      out.append(contentsOf: text[span.range])
      end = Int(span.end)
    }
    return out
  }

  private static func separator(_ text: TextBytes, _ end: Int, _ start: Int) -> UInt8? {
    let reader = ScalarReader(bytes: text)
    if reader.spaceLength(at: start) > 0 || reader.endsInSpace(before: end) { return nil }
    var space: UInt8?
    var at = end
    while at < start {
      let next = reader.scalar(at: at)
      if next.code == 0x0a { return 0x0a }
      if UnicodeData.isWhitespace(next.code) { space = 0x20 }
      at += next.length
    }
    return space
  }
}
