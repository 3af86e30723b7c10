public import TamisCore
public import TamisDevice

/// MInference's A-shape (arXiv 2407.02490; StreamingLLM, arXiv 2309.17453, over a prompt): the first `sinks` keys and, for each
/// query, the last `local` ones. A list holds what some query of its block needs, in whole tiles. One list for all heads.
public struct AShape: TileSelector {
  public let queryBlock, keyBlock: Int
  public let sinks, local: Int

  /// - Throws: `invalidArgument` for a number out of range.
  public init(queryBlock: Int = 128, keyBlock: Int = 64, sinks: Int = 128, local: Int = 3968) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try require(sinks >= 0, "sinks is \(sinks); expected at least 0")
    try require(local >= 1, "local is \(local); expected at least 1")
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.sinks = sinks
    self.local = local
  }

  public func listHeads(_ input: SparseInput) -> Int { 1 }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    return TileSelection(
      rows: (0..<input.blocks(of: queryBlock)).map { b in
        let row = input.row(b, queryBlock: queryBlock, keyBlock: keyBlock)
        let keys = Self.keys(input, b, queryBlock, sinks: sinks, local: local)
        var list = ContiguousArray<Int32>()
        for tile in row.tiles {
          let range = tile * keyBlock..<(tile + 1) * keyBlock
          if keys.contains(where: { $0.overlaps(range) }) { list.append(Int32(truncatingIfNeeded: tile)) }
        }
        return list
      })
  }

  /// Keys of a block: the sinks and the band, ascending, within what its queries may see.
  static func keys(_ input: SparseInput, _ b: Int, _ queryBlock: Int, sinks: Int, local: Int) -> [Range<Int>] {
    let legal = input.legal(block: b, of: queryBlock)
    let first = input.mask.queryOffset + b * queryBlock
    let band = max(legal.lowerBound, min(first - local + 1, legal.upperBound))..<legal.upperBound
    let sinkEnd = min(sinks, band.lowerBound)
    let sink = min(legal.lowerBound, sinkEnd)..<sinkEnd
    return [max(sink.lowerBound, legal.lowerBound)..<max(sink.upperBound, legal.lowerBound), band].filter { !$0.isEmpty }
  }
}
