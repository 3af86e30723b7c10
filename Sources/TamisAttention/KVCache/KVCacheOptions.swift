public import TamisCore
import TamisDevice

/// Names a sequence in its cache; never reused within one cache.
public typealias SequenceID = Int64

/// Shape of a cache: `tamis_kv_options`.
public struct KVCacheOptions: Sendable, Equatable {
  public var layers: Int
  public var kvHeads: Int
  /// A multiple of 8 from 8 to 256.
  public var headDim: Int
  /// f32, f16, bf16 or i8.
  public var dtype: DType
  /// A multiple of 16 from 16 to 4096.
  public var pageTokens: Int
  /// Capacity over all sequences, in tokens; rounded up to pages.
  public var maxTokens: Int
  public var rope: RoPE
  /// nil: score with the keys themselves; bf16 or i8: a second copy of the keys for scoring.
  public var scoringCopy: DType?

  public init(
    layers: Int = 1, kvHeads: Int = 1, headDim: Int = 64, dtype: DType = .f32, pageTokens: Int = 64, maxTokens: Int = 4096,
    rope: RoPE = .none, scoringCopy: DType? = nil
  ) {
    self.layers = layers
    self.kvHeads = kvHeads
    self.headDim = headDim
    self.dtype = dtype
    self.pageTokens = pageTokens
    self.maxTokens = maxTokens
    self.rope = rope
    self.scoringCopy = scoringCopy
  }

  /// Largest layer and head counts: with them no product of the shape below can overflow.
  static let most = 1 << 16

  /// The options in effect: capacity rounded up to pages, rotary dimensions resolved.
  /// - Throws: `invalidArgument` naming the field.
  public func resolved() throws(TamisError) -> KVCacheOptions {
    try require((1...Self.most).contains(layers), "layers is \(layers); expected 1 to \(Self.most)")
    try require((1...Self.most).contains(kvHeads), "kv_heads is \(kvHeads); expected 1 to \(Self.most)")
    try require(
      (8...256).contains(headDim) && headDim % 8 == 0, "head_dim is \(headDim); expected a multiple of 8 from 8 to 256")
    try require(dtype.isFloat || dtype == .i8, "dtype is \(dtype.name); expected f32, f16, bf16 or i8")
    try require(
      (16...4096).contains(pageTokens) && pageTokens % 16 == 0,
      "page_tokens is \(pageTokens); expected a multiple of 16 from 16 to 4096")
    let most = Int(Int32.max) * pageTokens
    try require((1...most).contains(maxTokens), "max_tokens is \(maxTokens); expected 1 to \(most) with these pages")
    try require(
      scoringCopy == nil || scoringCopy == .bf16 || scoringCopy == .i8,
      "scoring_copy is \(scoringCopy?.name ?? "none"); expected none (-1), bf16 or i8")
    var options = self
    options.maxTokens = (maxTokens + pageTokens - 1) / pageTokens * pageTokens
    options.rope = try resolvedRoPE()
    try require(
      !options.layout.pageBytes.multipliedReportingOverflow(by: options.layout.maxPages).overflow,
      "max_tokens is \(maxTokens); that many tokens of \(layers) layers take more bytes than an address can count")
    return options
  }

  private func resolvedRoPE() throws(TamisError) -> RoPE {
    if rope.isNone { return .none }
    var rope = rope
    if rope.rotaryDims == 0 { rope.rotaryDims = headDim }
    try require(
      (2...headDim).contains(rope.rotaryDims) && rope.rotaryDims % 2 == 0,
      "rope.rotary_dims is \(rope.rotaryDims); expected 0 (the whole head) or an even number from 2 to head_dim (\(headDim))")
    try require(rope.base.isFinite && rope.base > 0, "rope.base is \(rope.base); expected a finite number above 0")
    try require(rope.scale.isFinite && rope.scale > 0, "rope.scale is \(rope.scale); expected a finite number above 0")
    return rope
  }

  /// Of resolved options.
  var layout: KVLayout {
    KVLayout(
      layers: layers, kvHeads: kvHeads, headDim: headDim, dtype: dtype, pageTokens: pageTokens,
      maxPages: maxTokens / pageTokens, scoringCopy: scoringCopy)
  }
}

/// What a cache holds: `tamis_kv_memory`.
public struct KVMemory: Sendable, Equatable {
  public var sequences: Int
  public var pagesTotal: Int
  /// By at least one sequence.
  public var pagesUsed: Int
  /// By two or more.
  public var pagesShared: Int
  /// All layers: keys, values, scales and scoring copy.
  public var pageBytes: Int
  public var bytesUsed: Int
  /// The part of `bytesUsed` that the scoring copy takes.
  public var bytesScoringCopy: Int
  /// Sum over sequences of the longest layer; shared tokens count once per sequence.
  public var tokens: Int
}
