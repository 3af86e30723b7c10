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
