public import TamisCore
public import TamisDevice

/// SpargeAttn (arXiv 2502.18137, section 3.3): block means predict the attention of blocks whose rows resemble each other; what
/// does not is attended anyway.
///
/// A block is self-similar where the mean cosine of all pairs of its rows is more than `similarity`; keys are taken less their
/// mean over all positions first (`smoothKeys`). The means of self-similar tiles make softmax(cap(scale q . k)), of which a block
/// lists the best: `topShare` of all tiles, or those whose running sum stays within `coverage`, at least one. Tiles that are not
/// self-similar are listed for every block, and a block that is not lists all it sees. Works without a causal mask too.
///
/// The kernel's part, leaving out values of negligible weight, is `DenseMask.pvThreshold`.
public struct SpargeAttn: TileSelector {
  public enum Budget: Sendable, Equatable {
    /// Share of all tiles.
    case topShare(Float)
    /// Of the predicted mass; a share for each query head instead of the one, if there are any.
    case coverage(Float, heads: [Float]?)
  }

  public let queryBlock, keyBlock: Int
  public let budget: Budget
  public let similarity: Float
  public let smoothKeys: Bool
  /// Tile 0 is always listed.
  public let keepsFirstTile: Bool

  /// - Parameter similarity: nil: -0.1, or 0.6 with coverage, as the two forms of the official code have it.
  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 128, keyBlock: Int = 64, budget: Budget = .topShare(0.5), similarity: Float? = nil,
    smoothKeys: Bool = true, keepsFirstTile: Bool = true
  ) throws(TamisError) {
    try checkBlocks(queryBlock, keyBlock)
    var own: Float = -0.1
    switch budget {
    case .topShare(let share): try checkShare(share, "top_share")
    case .coverage(let share, let heads):
      own = 0.6
      try checkShare(share, "coverage")
      try checkHeadCoverage(heads)
    }
    let similarity = similarity ?? own
    try require(similarity >= -1 && similarity <= 1, "similarity is \(similarity); expected -1 to 1")
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.budget = budget
    self.similarity = similarity
    self.smoothKeys = smoothKeys
    self.keepsFirstTile = keepsFirstTile
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    if case .coverage(_, let heads?) = budget { try requireHeads(heads, input) }
    let blocks = input.blocks(of: queryBlock)
    let rows = (0..<blocks).map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    let q = try BlockMeans(input.q, rows: queryBlock, on: backend)
    let k = try BlockMeans(input.k, rows: keyBlock, on: backend)
    try goOn(progress, 0.3)
    let querySimilarity = try SelfSimilarity(input.q, rows: queryBlock, centres: nil, on: backend)
    let centres = smoothKeys ? try k.totalMeans(of: input.keys) : nil
    let keySimilarity = try SelfSimilarity(input.k, rows: keyBlock, centres: centres, on: backend)
    try goOn(progress, 0.8)
    let scores = try BlockScores(q: q, k: k, .mean, rule: input.rule)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      scores.forEachRow({ rows[$0].tiles }, on: backend) { h, b, scores in
        lists[h * blocks + b] =
          querySimilarity[h, b] <= similarity
          ? rows[b].all : choose(rows[b], h, scores, input) { keySimilarity[h / input.group, $0] <= similarity }
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }

  private func choose(
    _ row: BlockRow, _ head: Int, _ scores: UnsafeMutablePointer<Float>, _ input: SparseInput, isMixed: (Int) -> Bool
  ) -> ContiguousArray<Int32> {
    if row.tiles.isEmpty { return [] }
    for j in row.tiles where isMixed(j) { scores[j] = -.infinity }
    softmax(scores, row.tiles, input.rule)
    let n: Int
    switch budget {
    case .topShare(let share): n = tileBudget(share, of: input.tiles(of: keyBlock))
    case .coverage(let share, let heads):
      let share = heads?[head] ?? share
      if share >= 1 { return row.all }
      n = max(1, TopP.count(scores + row.tiles.lowerBound, count: row.tiles.count, mass: Double(share), .within))
    }
    var isListed = [Bool](repeating: false, count: row.tiles.count)
    for j in row.best(n, scores) { isListed[Int(j) - row.tiles.lowerBound] = true }
    var list = ContiguousArray<Int32>()
    for j in row.tiles where isListed[j - row.tiles.lowerBound] || isMixed(j) || (j == 0 && keepsFirstTile) {
      list.append(Int32(truncatingIfNeeded: j))
    }
    return list
  }
}

/// Mean cosine of all pairs of rows of each block, itself included: |sum of unit rows|^2 / n^2.
struct SelfSimilarity {
  private let values: FloatTable
  private let blocks: Int

  /// - Parameter centres: [heads][dim], taken from each row first.
  init(_ x: TensorView, rows: Int, centres: FloatTable?, on backend: any Backend) throws(TamisError) {
    let (heads, n, d) = (x.shape[0], x.shape[1], x.shape[2])
    let blocks = (n + rows - 1) / rows
    let values = try FloatTable(heads * blocks)
    backend.parallel(heads * blocks) { task in
      let (h, b) = (task / blocks, task % blocks)
      let count = min(rows, n - b * rows)
      withUnsafeTemporaryAllocation(of: Float.self, capacity: (Self.run + 1) * d) { memory in
        let (sum, wide) = (memory.baseAddress!, memory.baseAddress! + d)
        sum.update(repeating: 0, count: d)
        var at = 0
        while at < count {
          let run = min(Self.run, count - at)
          x.loadRows(h, b * rows + at, count: run, to: wide, Kernels.active)
          for i in 0..<run { addUnit(wide + i * d, centres.map { UnsafePointer($0.start + h * d) }, d, to: sum) }
          at += run
        }
        var square: Float = 0
        for i in 0..<d { square += sum[i] * sum[i] }
        values.start[task] = square / Float(count) / Float(count)
      }
    }
    self.values = values
    self.blocks = blocks
  }

  subscript(head: Int, block: Int) -> Float { values.start[head * blocks + block] }

  private static let run = 16
}

/// to += (row - centre) / |row - centre|; a row of no length adds nothing. `dim` is a multiple of 8.
private func addUnit(
  _ row: UnsafeMutablePointer<Float>, _ centre: UnsafePointer<Float>?, _ dim: Int, to: UnsafeMutablePointer<Float>
) {
  let x = UnsafeMutableRawPointer(row)
  var square = SIMD8<Float>.zero
  for i in stride(from: 0, to: dim * 4, by: 32) {
    var v = x.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self)
    if let centre {
      v -= UnsafeRawPointer(centre).loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self)
      x.storeBytes(of: v, toByteOffset: i, as: SIMD8<Float>.self)
    }
    square += v * v
  }
  let a = square.lowHalf + square.highHalf
  let factor = SIMD8<Float>(repeating: 1 / (((a.x + a.y) + (a.z + a.w)).squareRoot() + 1e-12))
  let sum = UnsafeMutableRawPointer(to)
  for i in stride(from: 0, to: dim * 4, by: 32) {
    let v = x.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self)
    sum.storeBytes(
      of: sum.loadUnaligned(fromByteOffset: i, as: SIMD8<Float>.self) + v * factor, toByteOffset: i, as: SIMD8<Float>.self)
  }
}
