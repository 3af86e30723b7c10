public import TamisCore
public import TamisDevice

/// Every legal tile: dense attention as lists.
public struct AllTiles: TileSelector {
  public let queryBlock, keyBlock: Int

  /// - Throws: `invalidArgument` for a number out of range.
  public init(queryBlock: Int = 128, keyBlock: Int = 64) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
  }

  public func listHeads(_ input: SparseInput) -> Int { 1 }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    TileSelection(
      rows: (0..<input.blocks(of: queryBlock)).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock).all })
  }
}
