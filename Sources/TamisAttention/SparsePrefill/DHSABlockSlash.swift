public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// DHSA v2 vertical-slash at block level (arXiv 2510.24606 v2, `DHSA_vsb`): the mean of the last query block scores tiles, and
/// the best of them stand for columns and, by their distance from the last tile, for diagonals.
///
/// With l[j] = scale q_last . k_j, half of K tiles are columns and the other half distances, both the best by l. A tile of a
/// block scores what it has as a column, and what each distance gives from some tile of the block. A tile is worth
/// exp(l[j] - max l). The official code takes l itself, which may be negative, so that being chosen lowers a tile: `literal`.
public struct DHSABlockSlash: TileSelector {
  public let queryBlock, keyBlock: Int
  public let density: Float
  public let literal: Bool

  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 64, density: Float = 0.125, literal: Bool = false
  ) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try checkDensity(density)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.density = density
    self.literal = literal
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let rows = (0..<blocks).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    let budget = tileBudget(density, of: input.tiles(of: keyBlock))
    let lastQueries = input.block(blocks - 1, of: queryBlock)
    var end = input
    end.q = input.q.narrowed(1, from: lastQueries.lowerBound, count: lastQueries.count)
    let scores = try BlockScores(end, queryBlock: queryBlock, keyBlock: keyBlock, .mean, on: backend)
    try goOn(progress, 0.5)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      scores.forEachRow({ _ in rows[blocks - 1].tiles }, on: backend) { h, _, scores in
        let lines = Lines(scores, rows[blocks - 1], budget, input.rule, literal: literal)
        for b in 0..<blocks { lists[h * blocks + b] = lines.choose(rows[b], budget) }
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }

  private struct Lines {
    /// (tile, value) and (distance from the last tile, value).
    var columns: [(Int, Double)] = []
    var slashes: [(Int, Double)] = []

    init(
      _ scores: UnsafeMutablePointer<Float>, _ row: BlockRow, _ budget: Int, _ rule: AttentionRule, literal: Bool
    ) {
      var top = -Double.infinity
      for j in row.tiles where !scores[j].isNaN { top = max(top, cap(scores[j], rule)) }
      func value(_ j: Int) -> Double {
        let z = scores[j].isNaN ? -.infinity : cap(scores[j], rule)
        let value = literal ? z : exp(z - top)
        return value.isFinite ? value : 0
      }
      for j in row.best(budget / 2, scores) { columns.append((Int(j), value(Int(j)))) }
      for j in row.best(budget - budget / 2, scores) { slashes.append((row.last - Int(j), value(Int(j)))) }
    }

    func choose(_ row: BlockRow, _ budget: Int) -> ContiguousArray<Int32> {
      if row.tiles.count <= budget { return row.all }
      var sums = [Double](repeating: 0, count: row.tiles.upperBound)
      let inner = max(row.tiles.lowerBound, 1)..<max(row.last, 1)
      for (tile, value) in columns where inner.contains(tile) { sums[tile] += value }
      for (distance, value) in slashes {
        for tile in row.diagonal.lowerBound - distance...row.last - distance where inner.contains(tile) { sums[tile] += value }
      }
      return sums.map { Float($0) }.withUnsafeBufferPointer { row.structured(budget, .diagonal, $0.baseAddress!) }
    }
  }
}

/// Logit of a product in f64.
private func cap(_ product: Float, _ rule: AttentionRule) -> Double {
  let z = Double(product) * Double(rule.scale)
  return rule.softcap > 0 ? Double(rule.softcap) * tanh(z / Double(rule.softcap)) : z
}
