public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// FlexPrefill (arXiv 2502.20766, Algorithms 1 to 4): each head chooses between a pattern of columns and diagonals and one of
/// single tiles, and how many.
///
/// With P the attention of the last `sampledRows` queries, its sums over key blocks (v) are compared with the attention of
/// their mean query to the block means of the keys (a). Where the Jensen-Shannon distance of a and v is below `distance`, block
/// means can be trusted and the head is query-aware; else it is vertical-slash.
///  - vertical-slash: so many of the best block columns and block diagonals as it takes tokens to hold `coverage` of the
///    columns' and of the diagonals' mass: n(m) = floor(m / 128) + 1, m = 1 + the number of sorted tokens whose running sum
///    does not exceed `coverage`; within the least and the most budget.
///  - query-aware: the same with the least budget, and the tiles of softmax(q_block . k_block), sorted over the whole head,
///    whose running sum does not exceed coverage x blocks.
/// Column 0 and diagonal 0 are always among the columns and diagonals. 0 log 0 is 0.
public struct FlexPrefill: TileSelector {
  public let queryBlock, keyBlock: Int
  public let coverage, distance: Float
  public let minBudget: Int
  /// nil: none.
  public let maxBudget: Int?
  public let sampledRows: Int

  /// Tokens that the official code counts as one block of budget, whatever the block.
  private static let budgetTokens = 128

  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 128, coverage: Float = 0.9, distance: Float = 0.1, minBudget: Int = 1024,
    maxBudget: Int? = nil, sampledRows: Int = 128
  ) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try checkShare(coverage, "coverage")
    try require(distance >= 0 && distance <= 1, "similarity is \(distance); expected 0 to 1")
    try require(minBudget >= 1, "min_budget is \(minBudget); expected at least 1")
    if let maxBudget {
      try require(maxBudget >= minBudget, "max_budget is \(maxBudget); expected at least min_budget, \(minBudget)")
    }
    try checkSampledRows(sampledRows, atMost: 4096)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.coverage = coverage
    self.distance = distance
    self.minBudget = minBudget
    self.maxBudget = maxBudget
    self.sampledRows = sampledRows
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let rows = (0..<blocks).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    if coverage >= 1 || input.keys <= max(2 * keyBlock, minBudget) {
      return TileSelection(rows: (0..<input.heads * blocks).map { rows[$0 % blocks].all })
    }
    let first = max(0, input.queries - sampledRows)
    let last = try LastQueries(input, rows: Array(first..<input.queries), on: backend)
    try goOn(progress, 0.6)
    let q = try BlockMeans(input.q, rows: queryBlock, on: backend)
    let k = try BlockMeans(input.k, rows: keyBlock, on: backend)
    let ending = try BlockMeans(
      input.q.narrowed(1, from: first, count: input.queries - first), rows: input.queries - first, on: backend)
    let heads = (0..<input.heads).map { _ in Head() }
    let estimate = try BlockScores(q: ending, k: k, .mean, rule: input.rule)
    estimate.forEachRow({ _ in rows[blocks - 1].tiles }, on: backend) { h, _, scores in
      choosePattern(heads[h], last, h, rows[blocks - 1], scores, input)
    }
    try goOn(progress, 0.7)
    let scores = try BlockScores(q: q, k: k, .mean, rule: input.rule)
    try fillTiles(heads, rows, scores, input, on: backend)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      backend.parallel(input.heads * blocks) { task in
        let (h, b) = (task / blocks, task % blocks)
        lists[task] = heads[h].list(rows[b], input, b, queryBlock, keyBlock)
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }

  private func choosePattern(
    _ head: Head, _ last: LastQueries, _ h: Int, _ row: BlockRow, _ scores: UnsafeMutablePointer<Float>, _ input: SparseInput
  ) {
    let count = Double(min(sampledRows, input.queries))
    let (columns, slashes) = (last.columns(h), last.slashes(h))
    let tiles = input.tiles(of: keyBlock)
    var vertical = [Float](repeating: 0, count: tiles)
    for t in 0..<last.keys { vertical[t / keyBlock] += columns[t] / Float(count) }
    let distances = (last.span + keyBlock - 1) / keyBlock
    var diagonal = [Float](repeating: 0, count: distances)
    for s in 0..<last.span { diagonal[s / keyBlock] += slashes[s] / Float(count) }

    softmax(scores, row.tiles, input.rule)
    head.isQueryAware = jensenShannon(row.tiles, scores, vertical) < Double(distance)
    vertical[0] = .infinity
    diagonal[0] = .infinity
    let (least, most) = (blocksOf(minBudget), maxBudget.map(blocksOf) ?? .max)
    func budget(_ scores: UnsafePointer<Float>, _ n: Int) -> Int {
      let m = TopP.count(scores, count: n, mass: Double(coverage) * count, .within) + 1
      return min(max(m / Self.budgetTokens + 1, least), most)
    }
    let nV = head.isQueryAware ? least : budget(columns, last.keys)
    let nS = head.isQueryAware ? least : budget(slashes, last.span)
    head.columns = largest(vertical, tiles, nV)
    head.distances = largest(diagonal, distances, nS)
  }

  private func blocksOf(_ tokens: Int) -> Int { max(1, tokens / Self.budgetTokens) }

  /// Of the query-aware heads, the tiles of the whole head whose running sum stays within the coverage.
  private func fillTiles(
    _ heads: [Head], _ rows: [BlockRow], _ scores: BlockScores, _ input: SparseInput, on backend: any Backend
  ) throws(TamisError) {
    guard heads.contains(where: \.isQueryAware) else { return }
    let (blocks, tiles) = (rows.count, input.tiles(of: keyBlock))
    for head in heads where head.isQueryAware { head.mass = try FloatTable(blocks * tiles) }
    scores.forEachRow({ rows[$0].tiles }, on: backend) { h, b, scores in
      guard let mass = heads[h].mass?.start else { return }
      (mass + b * tiles).update(repeating: 0, count: tiles)
      softmax(scores, rows[b].tiles, input.rule)
      for j in rows[b].tiles { mass[b * tiles + j] = scores[j] }
    }
    backend.parallel(heads.count) { h in
      guard let mass = heads[h].mass?.start else { return }
      let n = TopP.count(mass, count: blocks * tiles, mass: Double(coverage) * Double(blocks), .within)
      heads[h].tiles = .init(repeating: [], count: blocks)
      for i in largest(mass, blocks * tiles, n) where mass[Int(i)] > 0 {
        heads[h].tiles[Int(i) / tiles].append(i % Int32(truncatingIfNeeded: tiles))
      }
      heads[h].mass = nil
    }
  }

  private final class Head: @unchecked Sendable {
    var isQueryAware = false
    /// Block columns, block diagonals, and by block the single tiles; ascending.
    var columns: ContiguousArray<Int32> = []
    var distances: ContiguousArray<Int32> = []
    var tiles: [ContiguousArray<Int32>] = []
    var mass: FloatTable?

    func list(_ row: BlockRow, _ input: SparseInput, _ b: Int, _ queryBlock: Int, _ keyBlock: Int) -> ContiguousArray<Int32> {
      if row.tiles.isEmpty { return [] }
      var isListed = [Bool](repeating: false, count: row.tiles.count)
      for j in columns where row.tiles.contains(Int(j)) { isListed[Int(j) - row.tiles.lowerBound] = true }
      for j in tiles.isEmpty ? [] : tiles[b] { isListed[Int(j) - row.tiles.lowerBound] = true }
      let first = input.mask.queryOffset + b * queryBlock
      for distance in distances {
        let low = max(first - Int(distance) * keyBlock, 0)
        let high = min(first + queryBlock - 1 - Int(distance) * keyBlock, input.keys - 1)
        if low > high { continue }
        for j in (low / keyBlock..<high / keyBlock + 1).clamped(to: row.tiles) { isListed[j - row.tiles.lowerBound] = true }
      }
      let listed = row.tiles.filter { isListed[$0 - row.tiles.lowerBound] }
      return ContiguousArray(listed.map { Int32(truncatingIfNeeded: $0) })
    }
  }
}

/// softmax of cap(scale x) over a range, in place; NaN counts as -inf.
func softmax(_ x: UnsafeMutablePointer<Float>, _ range: Range<Int>, _ rule: AttentionRule) {
  var top = -Float.infinity
  for j in range {
    var z = x[j] * rule.scale
    if rule.softcap > 0 { z = rule.softcap * tanhf(z / rule.softcap) }
    x[j] = z.isNaN ? -.infinity : z
    if x[j] > top { top = x[j] }
  }
  var sum: Float = 0
  for j in range {
    x[j] = x[j] == top ? 1 : expf(x[j] - top)
    sum += x[j]
  }
  if top == -.infinity { sum = .infinity }
  for j in range { x[j] /= sum }
}

/// Square root of the Jensen-Shannon divergence of two distributions, in nats; 0 log 0 is 0.
private func jensenShannon(_ range: Range<Int>, _ p: UnsafePointer<Float>, _ q: [Float]) -> Double {
  var sum = 0.0
  for j in range {
    let (a, b) = (Double(p[j]), Double(q[j]))
    let m = (a + b) / 2
    if a > 0 { sum += a * log(a / m) / 2 }
    if b > 0 { sum += b * log(b / m) / 2 }
  }
  return max(sum, 0).squareRoot()
}
