public import TamisCore

/// Replaces every match of a pattern by a text.
public struct ReplaceNormalizer: Normalizer {
  public let pattern: Pattern
  public let content: [UInt8]

  public init(_ pattern: Pattern, with content: [UInt8]) {
    self.pattern = pattern
    self.content = content
  }

  public func apply(_ text: inout AlignedText) throws(TamisError) {
    var matches: [TextSlice] = []
    try text.bytes.withUnsafeBufferPointer { (bytes) throws(TamisError) in
      try pattern.matches(in: bytes, from: 0, to: bytes.count) { matches.append(TextSlice($0, $1)) }
    }
    if matches.isEmpty { return }
    if content.count == 1, matches.allSatisfy({ $0.end &- $0.start == 1 }) {
      for match in matches { text.bytes[Int(match.start)] = content[0] }
      return
    }
    let removed = matches.reduce(0) { $0 &+ Int($1.end &- $1.start) }
    let room = text.bytes.count &- removed &+ matches.count &* content.count
    try AlignedText.require(room: room)
    text.rewrite(room: room) { (new: inout TextRewrite) in
      content.withUnsafeBufferPointer { content in
        for match in matches {
          new.copy(to: Int(match.start))
          new.drop(Int(match.end &- match.start))
          // Inserted behind what was dropped, so it stands for the last scalar of that.
          new.insert(content)
        }
      }
      new.copy(to: new.source.count)
    }
  }
}
