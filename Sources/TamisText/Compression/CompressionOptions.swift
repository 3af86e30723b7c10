import TamisCore

/// How words are chosen. `native` works on the bytes of the text; `compat` repeats llmlingua 0.2.2
/// (include/tamis/compression.h).
public enum CompressionMode: Int32, Sendable {
  case native = 0
  case compat = 1
}

/// What one budget is shared by.
public enum ThresholdScope: Int32, Sendable {
  case chunk = 0
  case context = 1
  case prompt = 2
}

/// A word's probability from those of its tokens.
public enum WordProbability: Int32, Sendable {
  case mean = 0
  case first = 1
}

/// What is left of the white space of a cut.
public enum LineBreaks: Int32, Sendable {
  /// the white space before the next word
  case follow = 0
  /// its strongest line break
  case keep = 1
}

/// Parts of a text that stay well-formed.
public struct Protection: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let code = Protection(rawValue: 1)
  public static let urls = Protection(rawValue: 2)
  public static let links = Protection(rawValue: 4)
  public static let tables = Protection(rawValue: 8)
  public static let json = Protection(rawValue: 16)
  public static let speakers = Protection(rawValue: 32)
  public static let all: Protection = [.code, .urls, .links, .tables, .json, .speakers]
}

/// The wishes of one call, as `tamis_compress_options` describes them.
public struct CompressionOptions: Sendable {
  public var mode = CompressionMode.native
  /// Share of the counted tokens to keep.
  public var rate = 0.5
  /// Counted tokens to keep over all texts, in place of the rate.
  public var targetTokens: Int?
  /// Keep words above this probability, in place of the rate (SecurityLingua, arXiv 2506.12707: 0.5).
  public var threshold: Double?
  public var scope = ThresholdScope.context
  public var tokenToWord = WordProbability.mean
  public var forceTokens: [String] = []
  public var forceReserveDigit = false
  public var dropConsecutive = false
  /// nil: the ends of sentences and lines.
  public var chunkEndTokens: [String]?
  public var useTokenLevelFilter = true
  public var useContextLevelFilter = false
  public var targetContexts: Int?
  public var contextLevelRate = 1.0
  public var contextLevelTargetTokens: Int?
  public var forceContexts: Set<Int> = []
  public var protect: Protection = []
  public var lineBreaks = LineBreaks.follow

  public init() {}

  /// What native mode can do with; compat has Python's own rules.
  func validate(maxForceTokens: Int) throws(TamisError) {
    try require(!rate.isNaN, "options->rate is NaN; expected 0 to 1")
    try require(
      forceTokens.count <= maxForceTokens,
      "options->n_force_tokens is \(forceTokens.count); expected at most \(maxForceTokens) (max_force_token)")
    for (i, token) in forceTokens.enumerated() {
      try require(!token.utf8.isEmpty, "options->force_tokens[\(i)] is \"\"; expected at least one character")
    }
    for (count, name) in [
      (targetTokens, "target_token"), (targetContexts, "target_context"),
      (contextLevelTargetTokens, "context_level_target_token"),
    ] {
      try require((count ?? 0) >= 0, "options->\(name) is \(count ?? 0); expected at least 0, or -1 for none")
    }
    try require(!contextLevelRate.isNaN, "options->context_level_rate is NaN; expected 0 to 1")
    if let threshold {
      try require(threshold >= 0 && threshold <= 1, "options->threshold is \(threshold); expected 0 to 1, or -1 for none")
    }
    guard mode == .native else { return }
    try require(rate >= 0 && rate <= 1, "options->rate is \(rate); expected 0 to 1")
    try require(
      contextLevelRate >= 0 && contextLevelRate <= 1, "options->context_level_rate is \(contextLevelRate); expected 0 to 1")
  }
}
