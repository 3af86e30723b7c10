// Score, spend, use: the one sentence every method in this library is (docs/architecture.md).

/// How much a selection may hold, and what it holds regardless of score.
public struct Budget: Sendable, Equatable {
  /// Tokens [0, sinks) are always kept.
  public var sinks: Int
  /// The last `recent` tokens are always kept.
  public var recent: Int
  /// How many of the tokens between are chosen by score.
  public var topK: Int

  public init(sinks: Int, recent: Int, topK: Int) {
    self.sinks = sinks
    self.recent = recent
    self.topK = topK
  }

  /// Whether `tokens` tokens fit without a choice, so that the method is dense attention.
  public func covers(_ tokens: Int) -> Bool {
    // Each term is at most Int32.max (the ABI checks), so the sum cannot overflow.
    sinks + recent + topK >= tokens
  }

  /// The tokens among which scores decide.
  public func candidates(of tokens: Int) -> Range<Int> { min(sinks, tokens)..<max(min(sinks, tokens), tokens - recent) }
}

/// How the heads' scores of a token become one vote (TokenSelect, arXiv 2411.02886, section 4.2 and its ablation).
public struct VoteRule: Sendable, Equatable {
  public enum Kind: Int32, Sendable {
    /// sum over heads of the softmax over tokens
    case soft = 0
    /// sum over heads of the raw dot products
    case topK = 1
    /// number of heads whose own top-k holds the token
    case heads = 2
  }
  public enum HeadMap: Int32, Sendable {
    /// query head h scores KV head h / G, as attention does
    case group = 0
    /// query head h scores KV head h mod kvHeads, as the official kernel does
    case modulo = 1
  }

  public var kind: Kind
  public var headMap: HeadMap
  /// Max-pool of the votes over this many neighbouring tokens (odd; 0 or 1: off), padded with -inf.
  public var pool: Int
  /// The k of `Kind.heads`.
  public var topK: Int

  public init(kind: Kind = .soft, headMap: HeadMap = .group, pool: Int = 0, topK: Int = 0) {
    self.kind = kind
    self.headMap = headMap
    self.pool = pool
    self.topK = topK
  }
}

/// What attention does besides choosing keys.
public struct AttentionRule: @unchecked Sendable {
  public enum Positions: Int32, Sendable {
    /// The key at place a of the attended list stands at a; the last query at the last place.
    case compact = 0
    /// Every key and query stands where it stood in the text.
    case natural = 1
  }

  /// Softmax scale; already resolved, never 0.
  public var scale: Float
  /// cap * tanh(z / cap); 0: none.
  public var softcap: Float = 0
  /// A key must be less than this many positions before its query; 0: no window.
  public var window: Int = 0
  /// Added to the logit of token 0, one per query head; nil: none. Owned by whoever made the rule.
  public var keyZeroBias: UnsafePointer<Float>?
  /// Rotation at use; `.none` when keys and queries are taken as given.
  public var rope: RoPE = .none
  public var positions: Positions = .compact

  public init(scale: Float) { self.scale = scale }
}
