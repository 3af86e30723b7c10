public import TamisCore
public import TamisDevice

/// MInference's block-sparse pattern (arXiv 2407.02490): the `maxBlocks` best tiles a block may see, by the product of block
/// means. Nothing is forced.
public struct BlockTopK: TileSelector {
  public let queryBlock, keyBlock: Int
  public let maxBlocks: Int

  /// - Throws: `invalidArgument` for a number out of range.
  public init(queryBlock: Int = 64, keyBlock: Int = 64, maxBlocks: Int = 100) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try require(maxBlocks >= 1, "max_blocks is \(maxBlocks); expected at least 1")
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.maxBlocks = maxBlocks
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    try Self.forEachRow(input, queryBlock, keyBlock, on: backend) { _ in maxBlocks } body: { h, b, list in
      lists.withUnsafeMutableBufferPointer { $0[h * blocks + b] = list }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }

  /// Calls `body(head, block, tiles)` for every block of the heads that have a limit; from one thread.
  static func forEachRow(
    _ input: SparseInput, _ queryBlock: Int, _ keyBlock: Int, on backend: any Backend, limit: (_ head: Int) -> Int?,
    body: (Int, Int, ContiguousArray<Int32>) -> Void
  ) throws(TamisError) {
    let blocks = input.blocks(of: queryBlock)
    let rows = (0..<blocks).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    let limits = (0..<input.heads).map(limit)
    let scores = try BlockScores(input, queryBlock: queryBlock, keyBlock: keyBlock, .mean, on: backend)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      scores.forEachRow({ rows[$0].tiles }, on: backend) { h, b, scores in
        if let k = limits[h] { lists[h * blocks + b] = rows[b].best(k, scores) }
      }
    }
    for h in 0..<input.heads where limits[h] != nil {
      for b in 0..<blocks { body(h, b, lists[h * blocks + b]) }
    }
  }
}
