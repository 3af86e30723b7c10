public import TamisCore
public import TamisDevice

/// DHSA v2 vertical-slash at token level (arXiv 2510.24606 v2, `DHSA_vs`): the attention of the last query block names columns
/// and distances, and tiles are scored by those that touch them.
///
/// Of a budget of T = K keyBlock tokens, the share `ratio` goes to the columns with the most attention, the rest to distances.
/// A tile of a block scores the sum of its chosen columns and of each chosen distance that reaches it from some position of the
/// block. As in `StructuredTopK`, tile 0 and the whole diagonal are forced (the official code forces one tile of it) and the
/// best tiles before it fill K. Blocks whose first position is below T, and the last block, list all they see.
///
/// Last queries are the last real ones, `sampledRows` of the last block, evenly spaced and ending with the last.
public struct DHSAVerticalSlash: TileSelector {
  public let queryBlock, keyBlock: Int
  public let density: Float
  public let ratio: Float
  public let sampledRows: Int

  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 64, density: Float = 0.125, ratio: Float = 0.5, sampledRows: Int = 64
  ) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try checkDensity(density)
    try checkShare(ratio, "vertical_ratio")
    try checkSampledRows(sampledRows, atMost: queryBlock)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.density = density
    self.ratio = ratio
    self.sampledRows = sampledRows
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let budget = tileBudget(density, of: input.tiles(of: keyBlock))
    let tokens = budget * keyBlock
    let vertical = Int((Double(tokens) * Double(ratio) * (1 + 1e-7)).rounded(.down))
    let last = try LastQueries(input, rows: sampledQueries(input), on: backend)
    try goOn(progress, 0.7)
    let lines = (0..<input.heads).map { _ in Lines() }
    backend.parallel(input.heads) { h in
      lines[h].columns = largest(last.columns(h), last.keys, vertical)
      lines[h].slashes = largest(last.slashes(h), last.span, tokens - vertical)
    }
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      backend.parallel(input.heads * blocks) { task in
        let (h, b) = (task / blocks, task % blocks)
        let row = input.row(b, queryBlock: queryBlock, keyBlock: keyBlock)
        let isDense = b == blocks - 1 || input.mask.queryOffset + b * queryBlock < tokens
        lists[task] =
          isDense || row.tiles.count <= budget
          ? row.all : choose(row, input, b, budget, lines[h], last.columns(h), last.slashes(h))
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }

  private final class Lines: @unchecked Sendable {
    var columns: ContiguousArray<Int32> = []
    var slashes: ContiguousArray<Int32> = []
  }

  private func sampledQueries(_ input: SparseInput) -> [Int] {
    let width = min(queryBlock, input.queries)
    let count = min(sampledRows, width)
    return (0..<count).map { input.queries - 1 - (count - 1 - $0) * width / count }
  }

  private func choose(
    _ row: BlockRow, _ input: SparseInput, _ b: Int, _ budget: Int, _ lines: Lines, _ columns: UnsafePointer<Float>,
    _ slashes: UnsafePointer<Float>
  ) -> ContiguousArray<Int32> {
    var sums = [Double](repeating: 0, count: row.tiles.upperBound)
    for t in lines.columns {
      let tile = Int(t) / keyBlock
      if row.tiles.contains(tile) { sums[tile] += Double(columns[Int(t)]) }
    }
    let first = input.mask.queryOffset + b * queryBlock
    for slash in lines.slashes {
      // Keys at that distance from some position of the block.
      let low = max(first - Int(slash), 0)
      let high = min(first + queryBlock - 1 - Int(slash), input.keys - 1)
      if low > high { continue }
      let from = max(low / keyBlock, row.tiles.lowerBound)
      let to = min(high / keyBlock, row.last)
      if from > to { continue }
      for tile in from...to { sums[tile] += Double(slashes[Int(slash)]) }
    }
    return sums.map { Float($0) }.withUnsafeBufferPointer { row.structured(budget, .diagonal, $0.baseAddress!) }
  }
}

/// Indices of the k largest, ascending.
func largest(_ scores: UnsafePointer<Float>, _ count: Int, _ k: Int) -> ContiguousArray<Int32> {
  ContiguousArray(unsafeUninitializedCapacity: max(0, min(k, count))) { list, n in
    n = TopK.select(scores, count: count, k: min(k, count), into: list.baseAddress!)
  }
}
