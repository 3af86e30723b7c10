public import TamisCore

/// A component of a tokenizer.json that changes a text before it is split, and keeps the map to the original.
public protocol Normalizer: Sendable {
  /// - Throws: `unsupported` when a regular expression takes too many steps.
  func apply(_ text: inout AlignedText) throws(TamisError)
}

/// A text with nothing done to it.
public struct IdentityNormalizer: Normalizer {
  public init() {}
  public func apply(_ text: inout AlignedText) {}
}

/// One after another.
public struct SequenceNormalizer: Normalizer {
  public var normalizers: [any Normalizer]
  public init(_ normalizers: [any Normalizer]) { self.normalizers = normalizers }

  public func apply(_ text: inout AlignedText) throws(TamisError) {
    for normalizer in normalizers { try normalizer.apply(&text) }
  }
}
