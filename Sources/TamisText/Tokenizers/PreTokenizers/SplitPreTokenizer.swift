public import TamisCore

/// Splits at what a pattern matches, or (inverted) at what lies between its matches.
public struct SplitPreTokenizer: PreTokenizer {
  public let pattern: Pattern
  public let behavior: SplitBehavior
  public let inverts: Bool

  public init(_ pattern: Pattern, _ behavior: SplitBehavior, inverts: Bool = false) {
    self.pattern = pattern
    self.behavior = behavior
    self.inverts = inverts
  }

  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) throws(TamisError) {
    var new: [TextSlice] = []
    new.reserveCapacity(max(slices.count, text.bytes.count / 4))
    let old = slices
    try text.bytes.withUnsafeBufferPointer { (bytes) throws(TamisError) in
      var collector = SplitCollector(behavior)
      for slice in old {
        let end = Int(slice.end)
        var gap = Int(slice.start)
        try pattern.matches(in: bytes, from: gap, to: end) { first, last in
          if gap < first { collector.piece(gap, first, isMatch: inverts, &new) }
          collector.piece(first, last, isMatch: !inverts, &new)
          gap = last
        }
        if gap < end { collector.piece(gap, end, isMatch: inverts, &new) }
        collector.finish(&new)
      }
    }
    slices = new
  }
}

/// Byte-level BPE: an optional space in front, GPT-2's pattern. The bytes stay bytes: see `ByteLevelNormalizer`.
public struct ByteLevelPreTokenizer: PreTokenizer {
  public let addsPrefixSpace: Bool
  public let splits: Bool

  public init(addsPrefixSpace: Bool = true, splits: Bool = true) {
    self.addsPrefixSpace = addsPrefixSpace
    self.splits = splits
  }

  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    if addsPrefixSpace, slices.contains(where: { text.bytes[Int($0.start)] != 0x20 }) { addSpaces(&text, &slices) }
    if !splits { return }
    var new: [TextSlice] = []
    new.reserveCapacity(max(slices.count, text.bytes.count / 4))
    let scanner = WordScanner(family: .gpt2)
    text.bytes.withUnsafeBufferPointer { bytes in
      guard let base = bytes.baseAddress else { return }
      for slice in slices {
        scanner.each(base, from: Int(slice.start), to: Int(slice.end)) { new.append(TextSlice($0, $1)) }
      }
    }
    slices = new
  }

  private func addSpaces(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    let old = slices
    var new: [TextSlice] = []
    new.reserveCapacity(old.count)
    text.rewrite(room: text.bytes.count &+ old.count &+ 16) { (rewrite: inout TextRewrite) in
      for slice in old {
        let at = Int(slice.start)
        rewrite.drop(at &- rewrite.at)
        let start = rewrite.count
        if rewrite.source[at] != 0x20 { rewrite.write(0x20, aligned: rewrite.alignment(at)) }
        rewrite.copy(to: Int(slice.end))
        new.append(TextSlice(start, rewrite.count))
      }
    }
    slices = new
  }
}
