import TamisCore

/// SentencePiece's spaces: " " becomes "▁", one may be put in front, and each begins a piece.
public struct MetaspacePreTokenizer: PreTokenizer {
  /// Which pieces get a "▁" in front where they have none.
  public enum Prepend: String, Sendable, CaseIterable {
    case always, never
    /// The one at the start of the original text.
    case first
  }

  /// One scalar as UTF-8.
  public let replacement: [UInt8]
  public let prepend: Prepend
  public let splits: Bool
  private let scalar: UInt32

  public init(replacement: UInt32 = 0x2581, prepend: Prepend = .always, splits: Bool = true) {
    scalar = replacement
    self.replacement = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 4) { bytes in
      Array(bytes[..<UTF8Text.write(replacement, to: bytes.baseAddress!)])
    }
    self.prepend = prepend
    self.splits = splits
  }

  @_optimize(speed)
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {
    let old = slices
    let originals = old.map { text.originalStart(Int($0.start)) }
    var new: [TextSlice] = []
    new.reserveCapacity(max(old.count, text.bytes.count / 4))
    // A text without spaces or prefixes stays as it is; it is rare enough not to be looked for.
    text.rewrite(room: text.bytes.count / 2 &* 3 &+ 64) { (rewrite: inout TextRewrite) in
      guard let base = rewrite.source.baseAddress else { return }
      replacement.withUnsafeBufferPointer { mark in
        for (slice, original) in zip(old, originals) {
          let end = Int(slice.end)
          var at = Int(slice.start)
          rewrite.drop(at &- rewrite.at)
          var start = rewrite.count
          let isMarked = base[at] == 0x20 || startsWithMark(base + at, end &- at, mark)
          if !isMarked, prepend == .always || (prepend == .first && original == 0) {
            rewrite.write(mark, aligned: rewrite.alignment(at))
          }
          while at < end {
            if base[at] == 0x20 || (splits && startsWithMark(base + at, end &- at, mark)) {
              rewrite.copy(to: at)
              if splits, rewrite.count > start {
                new.append(TextSlice(start, rewrite.count))
                start = rewrite.count
              }
              let place = rewrite.alignment(at)
              let length = base[at] == 0x20 ? 1 : mark.count
              rewrite.write(mark, aligned: place)
              rewrite.drop(length)
              at &+= length
            } else {
              at &+= 1
            }
          }
          rewrite.copy(to: end)
          if rewrite.count > start { new.append(TextSlice(start, rewrite.count)) }
        }
      }
    }
    slices = new
  }

  @inline(__always)
  private func startsWithMark(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ mark: UnsafeBufferPointer<UInt8>) -> Bool {
    if bytes[0] != mark[0] || count < mark.count { return false }
    for i in 1..<max(mark.count, 1) where bytes[i] != mark[i] { return false }
    return true
  }
}
