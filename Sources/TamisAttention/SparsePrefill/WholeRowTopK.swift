public import TamisCore
public import TamisDevice

/// The literal form of DHSA v2's `DHSA_topk` (arXiv 2510.24606 v2, the latency scripts of the official code): the best
/// floor(density nTiles) tiles of all, later ones included, whose picks are wasted; nothing is forced. A block may be left
/// without a key. For comparison only.
public struct WholeRowTopK: TileSelector {
  public let queryBlock, keyBlock: Int
  public let density: Float

  /// - Throws: `invalidArgument` for a number out of range.
  public init(queryBlock: Int = 128, keyBlock: Int = 64, density: Float = 0.125) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try checkDensity(density)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.density = density
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let whole = BlockRow(tiles: 0..<input.tiles(of: keyBlock), diagonal: 0..<0)
    let budget = tileBudget(density, of: whole.tiles.count)
    let scores = try BlockScores(input, queryBlock: queryBlock, keyBlock: keyBlock, .mean, on: backend)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      scores.forEachRow({ _ in whole.tiles }, on: backend) { h, b, scores in
        lists[h * blocks + b] = whole.best(budget, scores)
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }
}
