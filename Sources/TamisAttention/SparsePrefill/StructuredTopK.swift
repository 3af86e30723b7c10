public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// DHSA v2's structured top-k (arXiv 2510.24606 v2): tile 0 and the tiles of the query block itself are forced, the rest of the
/// budget goes to the best tiles before them. `DHSA_a` forces tile 0 and the last tile only.
///
/// A block may list K = max(1, floor(density nTiles)) tiles; one that can see no more than that lists all it sees. The
/// selection of a block depends on its own queries and on keys up to its last tile only.
///
/// With `rowBudgets`, blocks of a head trade budget at a constant total. The official code learns the priorities; here they
/// need no training: the entropy of the softmax of a block's tile scores, divided by the log of their number and standardised
/// over the head's blocks. A flat row loses more by a cut than a peaked one, so it gets more tiles. This makes blocks depend on
/// later ones.
public struct StructuredTopK: TileSelector {
  public enum Forced: Sendable {
    /// All tiles of the query block.
    case diagonal
    /// The last of them.
    case last
  }

  public let queryBlock, keyBlock: Int
  public let density: Float
  public let score: BlockScore
  public let forced: Forced
  public let rowBudgets: RowBudgets?

  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 64, density: Float = 0.125, score: BlockScore = .logMeanExp,
    forced: Forced = .diagonal, rowBudgets: RowBudgets? = nil
  ) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try checkDensity(density)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.density = density
    self.score = score
    self.forced = forced
    self.rowBudgets = rowBudgets
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let rows = (0..<blocks).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    let budget = tileBudget(density, of: input.tiles(of: keyBlock))
    let scores = try BlockScores(input, queryBlock: queryBlock, keyBlock: keyBlock, score, on: backend)
    try goOn(progress, 0.5)
    let budgets = try budgets(rows, budget, scores, input.rule, on: backend)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      scores.forEachRow({ rows[$0].tiles.count > budget ? rows[$0].tiles : 0..<0 }, on: backend) { h, b, scores in
        lists[h * blocks + b] = rows[b].structured(budgets?[h * blocks + b] ?? budget, forced, scores)
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }

  /// [heads][blocks] tiles, or nil where all blocks have the same.
  private func budgets(
    _ rows: [BlockRow], _ budget: Int, _ scores: BlockScores, _ rule: AttentionRule, on backend: any Backend
  ) throws(TamisError) -> [Int]? {
    guard let rowBudgets else { return nil }
    let blocks = rows.count
    var priorities = [Double](repeating: 0, count: scores.heads * blocks)
    let scale = score == .mean ? Double(rule.scale) : 1
    priorities.withUnsafeMutableBufferPointer { priorities in
      scores.forEachRow({ rows[$0].tiles.count > budget ? rows[$0].tiles : 0..<0 }, on: backend) { h, b, scores in
        priorities[h * blocks + b] =
          rows[b].tiles.count > budget ? relativeEntropy(scores, rows[b].tiles, scale: scale) : .nan
      }
    }
    let least = rows.map { $0.forced(budget, forced) }
    var all: [Int] = []
    for h in 0..<scores.heads {
      all += rowBudgets.tiles(
        available: rows.map(\.tiles.count), forced: least, budget: budget,
        priorities: standardised(priorities[h * blocks..<(h + 1) * blocks]))
    }
    return all
  }
}

extension BlockRow {
  /// Whether tile 0 is forced beside the diagonal.
  private func hasSink(_ budget: Int, _ forced: StructuredTopK.Forced) -> Bool {
    budget > 1 && tiles.lowerBound == 0 && (forced == .last ? last : diagonal.lowerBound) > 0
  }

  /// Tiles listed whatever their score.
  func forced(_ budget: Int, _ forced: StructuredTopK.Forced) -> Int {
    if tiles.isEmpty { return 0 }
    let sink = hasSink(budget, forced) ? 1 : 0
    return sink + (forced == .last ? 1 : min(last + 1 - diagonal.lowerBound, budget - sink))
  }

  /// Tile 0, the band of the block as far as the budget goes, and the best tiles between.
  func structured(_ budget: Int, _ forced: StructuredTopK.Forced, _ scores: UnsafePointer<Float>) -> ContiguousArray<Int32> {
    if tiles.count <= budget { return all }
    let sink = hasSink(budget, forced) ? 1 : 0
    let band = self.forced(budget, forced) - sink
    let between = tiles.lowerBound + sink..<last + 1 - band
    return ContiguousArray(unsafeUninitializedCapacity: budget) { list, count in
      if sink > 0 { list.initializeElement(at: 0, to: 0) }
      count = sink
      count += TopK.select(
        scores + between.lowerBound, count: between.count, k: budget - sink - band, offset: between.lowerBound,
        into: list.baseAddress! + sink, kernels: Kernels.active)
      for tile in between.upperBound...last {
        list.initializeElement(at: count, to: Int32(truncatingIfNeeded: tile))
        count += 1
      }
    }
  }
}

/// Entropy of softmax(scale scores) over a range, divided by that of the uniform distribution.
private func relativeEntropy(_ scores: UnsafePointer<Float>, _ tiles: Range<Int>, scale: Double) -> Double {
  var top = -Double.infinity
  for j in tiles where !scores[j].isNaN { top = max(top, scale * Double(scores[j])) }
  if !top.isFinite || tiles.count < 2 { return 0 }
  var mass = 0.0
  var moment = 0.0
  for j in tiles where !scores[j].isNaN && scores[j] > -.infinity {
    let z = scale * Double(scores[j]) - top
    mass += exp(z)
    moment += exp(z) * z
  }
  return (log(mass) - moment / mass) / log(Double(tiles.count))
}

/// (x - mean) / standard deviation over the numbers; NaN stays.
private func standardised(_ x: ArraySlice<Double>) -> [Double] {
  let numbers = x.filter { !$0.isNaN }
  let mean = numbers.reduce(0, +) / Double(max(numbers.count, 1))
  let variance = numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(numbers.count, 1))
  return x.map { variance > 0 ? ($0 - mean) / variance.squareRoot() : ($0.isNaN ? $0 : 0) }
}
