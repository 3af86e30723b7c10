import TamisCore

/// A text: bytes, as a rule UTF-8. Bytes that are not count as letters.
public typealias TextBytes = UnsafeBufferPointer<UInt8>

/// Bytes [start, end) of a text: a unit that is kept or dropped whole.
public struct TextSpan: Sendable, Hashable {
  public var start: Int32
  public var end: Int32

  public init(start: Int32, end: Int32) {
    self.start = start
    self.end = end
  }

  public init(_ start: Int, _ end: Int) {
    self.start = Int32(truncatingIfNeeded: start)
    self.end = Int32(truncatingIfNeeded: end)
  }

  public var range: Range<Int> { Int(start)..<Int(end) }
  public var isEmpty: Bool { start == end }
}

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
    if WhiteSpace.length(text, at: start) > 0 || WhiteSpace.endsBefore(text, end) { return nil }
    var space: UInt8?
    var at = end
    while at < start {
      let length = WhiteSpace.length(text, at: at)
      if length > 0 {
        if text[at] == UInt8(ascii: "\n") { return UInt8(ascii: "\n") }
        space = UInt8(ascii: " ")
      }
      at += max(length, 1)
    }
    return space
  }
}

extension Array {
  /// The elements as a buffer, with typed errors.
  public func withUnsafe<R>(_ body: (UnsafeBufferPointer<Element>) throws(TamisError) -> R) throws(TamisError) -> R {
    var outcome: Result<R, TamisError>?
    withUnsafeBufferPointer { buffer in
      do throws(TamisError) { outcome = .success(try body(buffer)) } catch { outcome = .failure(error) }
    }
    guard let outcome else { throw TamisError(.internalError, "no buffer") }
    return try outcome.get()
  }
}

/// Checks of spans that come from a caller.
extension UnsafeBufferPointer where Element == TextSpan {
  /// Starts and ends never fall, start <= end, nothing beyond `limit`. `apart`: no overlap either.
  public func requireAscending(_ name: String, within limit: Int = Int(Int32.max), apart: Bool) throws(TamisError) {
    var last = TextSpan(start: 0, end: 0)
    for i in 0..<count {
      let span = self[i]
      try require(
        span.start >= 0 && span.start <= span.end && Int(span.end) <= limit,
        "\(name)[\(i)] is [\(span.start), \(span.end)); expected 0 <= start <= end <= \(limit)")
      let follows = apart ? span.start >= last.end : span.start >= last.start && span.end >= last.end
      try require(
        follows,
        "\(name)[\(i)] is [\(span.start), \(span.end)) after [\(last.start), \(last.end)); expected ascending spans"
          + (apart ? " that do not overlap" : ""))
      last = span
    }
  }
}

extension UnsafeBufferPointer where Element == Int32 {
  /// Ascending, each once, in 0 ..< count.
  public func requireSelection(_ name: String, of units: Int) throws(TamisError) {
    var last: Int32 = -1
    for i in 0..<count {
      try require(
        self[i] > last && Int(self[i]) < units,
        "\(name)[\(i)] is \(self[i]) after \(last); expected ascending indices below \(units), each once")
      last = self[i]
    }
  }
}
