public import TamisCore
public import TamisDevice

/// The block-sparse baseline that DHSA v1 compares itself with (arXiv 2510.24606 v1, `_obtain_block_mask` of the official
/// code): means of queries and keys over block and heads, their product, the tiles of the block itself and the best before
/// them, a budget of tokens. One list for all heads.
///
/// The official code has blocks as long as tiles; here all tiles of the query block are its most recent block.
public struct BlockSparse: TileSelector {
  public enum Budget: Sendable, Equatable {
    /// Keys per query block.
    case tokens(Int)
    /// Share of the keys.
    case density(Float)
    case all
  }

  public let queryBlock, keyBlock: Int
  public let budget: Budget

  /// - Throws: `invalidArgument` for a number out of range.
  public init(queryBlock: Int = 128, keyBlock: Int = 64, budget: Budget = .density(0.125)) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    switch budget {
    case .tokens(let n): try require(n >= 1, "budget is \(n); expected at least 1, 0 (density) or -1 (all)")
    case .density(let d): try checkDensity(d)
    case .all: break
    }
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.budget = budget
  }

  public func listHeads(_ input: SparseInput) -> Int { 1 }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let rows = (0..<blocks).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    let budget =
      switch budget {
      case .tokens(let n): tileBudget(tokens: n, keyBlock: keyBlock)
      case .density(let d):
        tileBudget(tokens: Int((Double(d) * Double(input.keys) * (1 + 1e-7)).rounded(.down)), keyBlock: keyBlock)
      case .all: input.tiles(of: keyBlock)
      }
    let q = try BlockMeans(overHeadsOf: try BlockMeans(input.q, rows: queryBlock, on: backend))
    let k = try BlockMeans(overHeadsOf: try BlockMeans(input.k, rows: keyBlock, on: backend))
    let scores = try BlockScores(q: q, k: k, .mean, rule: input.rule)
    try goOn(progress, 0.5)
    var lists = [ContiguousArray<Int32>](repeating: [], count: blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      scores.forEachRow({ rows[$0].tiles.count > budget ? rows[$0].tiles : 0..<0 }, on: backend) { _, b, scores in
        lists[b] = rows[b].recent(budget, scores)
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }
}

extension BlockRow {
  /// The band of the block as far as the budget goes, and the best tiles before it.
  fileprivate func recent(_ budget: Int, _ scores: UnsafePointer<Float>) -> ContiguousArray<Int32> {
    if tiles.count <= budget { return all }
    let band = min(budget, last + 1 - diagonal.lowerBound)
    let before = tiles.lowerBound..<last + 1 - band
    var list = ContiguousArray<Int32>(unsafeUninitializedCapacity: budget) { list, count in
      count = TopK.select(
        scores + before.lowerBound, count: before.count, k: budget - band, offset: before.lowerBound,
        into: list.baseAddress!, kernels: Kernels.active)
    }
    list += Self.list(before.upperBound..<last + 1)
    return list
  }
}
