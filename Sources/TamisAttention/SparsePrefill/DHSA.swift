public import TamisCore
public import TamisDevice

/// DHSA v1 (arXiv 2510.24606 v1): keys in chunks of variable length, a chunk scored by its pooled key against the mean query of
/// a block, the tokens of the best chunks attended together with the first keys and the local band. One list for all heads, by the
/// mean of their queries and keys, or (`headLists`, ours) a list for each query head by its own.
///
/// The rule: sinks, the local band and the best other tokens, `budget` of them in all. Legal are the keys that some query of
/// the block may see. Sinks are the first min(`sinks`, budget / 4) legal keys; the band is the last `local` of them, less
/// where the budget is less, but always all of the block's own; the rest goes to chunks, best first, the last one from its
/// end (the scores of its tokens are equal, and of equals the more recent is taken). Tiles: the same with a tile scored as
/// its best token and ceil(budget / keyBlock) tiles. A block that holds one of the last `instructionTokens` queries is dense.
///
/// `literal` is the official code's form for blocks of 128, token by token: the first 128 entries of a list give way to sinks,
/// whatever they were.
public struct DHSA: TileSelector {
  public enum Chunks: Sendable {
    /// Every so many keys.
    case uniform(Int)
    /// Ascending from 0 to keys.
    case boundaries([Int64])
    /// Found by a network; options nil: those that follow from the selector's.
    case predicted(BoundaryPredictor, BoundaryOptions?)
  }

  public enum Granularity: Int32, Sendable {
    case tiles = 0
    case tokens = 1
  }

  public enum Budget: Sendable, Equatable {
    /// Keys per query block.
    case tokens(Int)
    /// Share of the keys.
    case density(Float)
    case all
  }

  public let queryBlock: Int
  /// Keys of a tile; 1 with token granularity.
  public let keyBlock: Int
  public let chunks: Chunks
  public let pooling: ChunkPooling
  public let budget: Budget
  public let sinks, local: Int
  /// The last queries of the call, attended densely.
  public let instructionTokens: Int
  public let literal: Bool
  public let headLists: Bool

  /// - Parameter keyBlock: of tile granularity and `literal` false; else lists are of tokens.
  /// - Throws: `invalidArgument` for a number out of range; `literal` takes blocks of 128 only.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 32, granularity: Granularity = .tiles, chunks: Chunks? = nil,
    pooling: ChunkPooling = .squareRoot, budget: Budget = .density(0.125), sinks: Int = 128, local: Int = 128,
    instructionTokens: Int = 64, literal: Bool = false, headLists: Bool = false
  ) throws(TamisError) {
    try require(queryBlock >= 1, "query_block is \(queryBlock); expected at least 1")
    try require(keyBlock >= 1, "key_block is \(keyBlock); expected at least 1")
    try require(sinks >= 0, "sinks is \(sinks); expected at least 0")
    try require(local >= 0, "local is \(local); expected at least 0")
    try require(instructionTokens >= 0, "instruction_tokens is \(instructionTokens); expected at least 0")
    if case .density(let d) = budget {
      try require(d > 0 && d <= 1, "density is \(d); expected more than 0 and at most 1")
    }
    if case .tokens(let n) = budget { try require(n >= 1, "budget is \(n); expected at least 1") }
    if case .uniform(let n)? = chunks { try require(n >= 1, "key_block is \(n); expected at least 1") }
    if case .predicted(_, let options?)? = chunks { try options.check() }
    if literal { try require(queryBlock == 128, "query_block is \(queryBlock); expected 128 for the literal form") }
    try require(!literal || !headLists, "head_lists is 1; expected 0 for the literal form")
    self.queryBlock = queryBlock
    self.keyBlock = granularity == .tiles && !literal ? keyBlock : 1
    self.chunks = chunks ?? .uniform(keyBlock)
    self.pooling = pooling
    self.budget = budget
    self.sinks = sinks
    self.local = local
    self.instructionTokens = instructionTokens
    self.literal = literal
    self.headLists = headLists
  }

  public func listHeads(_ input: SparseInput) -> Int { headLists ? input.heads : 1 }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    guard input.mask.causal else { throw TamisError(.unsupported, "causal is 0; DHSA chooses keys before their queries") }
    let boundaries = try boundaries(input, on: backend, progress: progress)
    let vectors = try ChunkVectors(input.k, boundaries, pooling, ofEachHead: headLists) { backend.parallel($0, $1) }
    let blocks = (input.queries + queryBlock - 1) / queryBlock
    var rows = [ContiguousArray<Int32>](repeating: [], count: listHeads(input) * blocks)
    rows.withUnsafeMutableBufferPointer { rows in
      let home = UncheckedPointer(rows.baseAddress!)
      backend.parallel(rows.count) { i in
        home.pointer[i] = ChunkRow(self, input, i % blocks, head: headLists ? i / blocks : nil, boundaries, vectors).list()
      }
    }
    if let progress, !progress(1) { throw TamisError(.cancelled, "progress returned 0") }
    return TileSelection(rows: rows, boundaries: boundaries)
  }

  private func boundaries(
    _ input: SparseInput, on backend: any Backend, progress: Progress?
  ) throws(TamisError) -> [Int64] {
    switch chunks {
    case .uniform(let length): return Boundaries.uniform(length, input.keys)
    case .boundaries(let given):
      try Boundaries.check(given, input.keys)
      return given
    case .predicted(let predictor, let options):
      let options =
        options
        ?? BoundaryOptions(queryBlock: queryBlock, window: predictor.window, instructionTokens: instructionTokens)
      let logits = try predictor.logits(input.k, on: backend, progress: progress.map { report in { report(0.9 * $0) } })
      return try options.boundaries(logits)
    }
  }

  /// Keys that a query block may list.
  func budget(_ keys: Int) -> Int {
    switch budget {
    case .tokens(let n): min(n, keys)
    case .density(let d): max(1, Int((Double(d) * Double(keys)).rounded()))
    case .all: keys
    }
  }
}
