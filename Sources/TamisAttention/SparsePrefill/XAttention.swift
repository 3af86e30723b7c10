import CShims
public import TamisCore
public import TamisDevice

/// XAttention (arXiv 2503.16428): a tile's score is the mass of its antidiagonals.
///
/// With stride S, `stride` queries and keys make one pair: sum_t q[aS + S - 1 - t] . k[bS + t], the antidiagonal of their S x S
/// logits, is one product of vectors of S head_dim. Its softmax over b (scale / S, causal by pairs) summed over a tile is the
/// tile's score. The tile of the first keys and those of the query block are taken, then the best until they hold `coverage` of
/// the row's mass.
public struct XAttention: TileSelector {
  public let queryBlock, keyBlock: Int
  public let stride: Int
  public let coverage: Float
  /// One for each query head instead of `coverage`; 0 lists the first tile and the block's own.
  public let headCoverage: [Float]?

  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 128, stride: Int = 8, coverage: Float = 0.9, headCoverage: [Float]? = nil
  ) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    try require(
      stride >= 1 && queryBlock % stride == 0 && keyBlock % stride == 0,
      "stride is \(stride); expected a divisor of query_block, \(queryBlock), and of key_block, \(keyBlock)")
    try checkShare(coverage, "coverage")
    try checkHeadCoverage(headCoverage)
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.stride = stride
    self.coverage = coverage
    self.headCoverage = headCoverage
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    if let headCoverage { try requireHeads(headCoverage, input) }
    let blocks = input.blocks(of: queryBlock)
    let scorer = Antidiagonals(input, queryBlock: queryBlock, keyBlock: keyBlock, stride: stride, threads: backend.threads)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      backend.parallel(input.heads * scorer.tasks) { task in
        scorer.forEachRow(task) { h, b, row, scores in
          lists[h * blocks + b] = row.covering(Double(headCoverage?[h] ?? coverage), scores)
        }
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }
}

extension BlockRow {
  /// Tile 0, the block's own tiles, and the best others until all hold `share` of the mass. Sums are f64, the forced tiles'
  /// first. `scores` are those of tile 0 on and are overwritten.
  func covering(_ share: Double, _ scores: UnsafeMutablePointer<Float>) -> ContiguousArray<Int32> {
    if tiles.isEmpty || share >= 1 { return all }
    let total = tiles.reduce(0) { $0 + mass(scores[$1]) }
    let sink = tiles.lowerBound == 0 && diagonal.lowerBound > 0 ? 1 : 0
    var taken = sink > 0 ? mass(scores[0]) : 0
    for tile in diagonal {
      taken += mass(scores[tile])
      scores[tile] = -.infinity
    }
    if sink > 0 { scores[0] = -.infinity }
    let n = TopP.count(
      scores + tiles.lowerBound, count: tiles.count, mass: share * total, from: taken, .reaching)
    let most = tiles.count - diagonal.count - sink
    // The forced tiles, now the largest, and n others.
    for tile in diagonal { scores[tile] = .infinity }
    if sink > 0 { scores[0] = .infinity }
    return best(min(n, most) + diagonal.count + sink, scores)
  }

  /// The k best tiles.
  func best(_ k: Int, _ scores: UnsafePointer<Float>) -> ContiguousArray<Int32> {
    ContiguousArray(unsafeUninitializedCapacity: max(0, min(k, tiles.count))) { list, count in
      count = TopK.select(
        scores + tiles.lowerBound, count: tiles.count, k: min(k, tiles.count), offset: tiles.lowerBound,
        into: list.baseAddress!, kernels: Kernels.active)
    }
  }
}

/// NaN adds nothing.
private func mass(_ score: Float) -> Double { score > 0 ? Double(score) : 0 }
