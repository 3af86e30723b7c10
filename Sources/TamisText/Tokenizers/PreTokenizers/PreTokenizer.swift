public import TamisCore

/// A byte range of `AlignedText.bytes`; never empty in the hands of a pre-tokenizer.
public struct TextSlice: Sendable, Equatable {
  public var start: Int32
  public var end: Int32

  @inline(__always)
  public init(start: Int32, end: Int32) {
    self.start = start
    self.end = end
  }

  @inline(__always)
  init(_ start: Int, _ end: Int) {
    self.start = Int32(truncatingIfNeeded: start)
    self.end = Int32(truncatingIfNeeded: end)
  }
}

/// A component of a tokenizer.json that cuts a text into the pieces which the model sees one by one.
public protocol PreTokenizer: Sendable {
  /// Splits each slice of `slices` further. What lies in no slice afterwards is removed from the text. A component that inserts
  /// or replaces bytes changes `text` and keeps its map.
  /// - Throws: `unsupported` when a regular expression takes too many steps.
  func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) throws(TamisError)
}

/// The text as it is.
public struct IdentityPreTokenizer: PreTokenizer {
  public init() {}
  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) {}
}

/// One after another.
public struct SequencePreTokenizer: PreTokenizer {
  public var preTokenizers: [any PreTokenizer]
  public init(_ preTokenizers: [any PreTokenizer]) { self.preTokenizers = preTokenizers }

  public func split(_ text: inout AlignedText, _ slices: inout [TextSlice]) throws(TamisError) {
    for preTokenizer in preTokenizers {
      try preTokenizer.split(&text, &slices)
      try AlignedText.require(room: text.bytes.count)
    }
  }
}
