public import TamisCore
public import TamisDevice

/// MInference's vertical-slash pattern (arXiv 2407.02490, section 3.2 and Algorithm 1): the `vertical` columns and the `slash`
/// diagonals that hold most of the last queries' attention; the first 30 columns and the nearest 100 diagonals always count
/// among them. Lists are of tokens.
///
/// A diagonal of distance s covers, for a block that ends before position e, the keys [e - s - queryBlock, e - s), or the first
/// `queryBlock` ones. From far to near, ranges that touch are merged and grow by whole tiles of 64; columns outside them are
/// listed one by one.
public struct VerticalSlash: TileSelector {
  public let queryBlock: Int
  public var keyBlock: Int { 1 }
  public let vertical, slash: Int
  public let lastQueries: Int

  static let forcedColumns = 30
  static let forcedSlashes = 100
  static let tile = 64

  /// - Throws: `invalidArgument` for a number out of range.
  public init(
    queryBlock: Int = 64, vertical: Int = 1000, slash: Int = 6096, lastQueries: Int = 64
  ) throws(TamisError) {
    try checkBlocks(queryBlock, 8)
    try require(vertical >= 1, "vertical is \(vertical); expected at least 1")
    try require(slash >= 1, "slash is \(slash); expected at least 1")
    try checkSampledRows(lastQueries, atMost: 4096)
    self.queryBlock = queryBlock
    self.vertical = vertical
    self.slash = slash
    self.lastQueries = lastQueries
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let blocks = input.blocks(of: queryBlock)
    let lines = try VerticalSlashLines.find(
      input, counts: .init(repeating: (vertical, slash), count: input.heads), lastQueries: lastQueries, on: backend)
    try goOn(progress, 0.5)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    lists.withUnsafeMutableBufferPointer { lists in
      backend.parallel(input.heads * blocks) { task in
        lists[task] = lines[task / blocks]!.keys(input, task % blocks, queryBlock)
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }
}

/// The chosen columns and distances of one head.
final class VerticalSlashLines: Sendable {
  /// Ascending.
  let columns, slashes: ContiguousArray<Int32>

  private init(columns: ContiguousArray<Int32>, slashes: ContiguousArray<Int32>) {
    self.columns = columns
    self.slashes = slashes
  }

  /// - Parameter counts: (columns, diagonals) of each head, at least 30 and 50 of them where there are as many; nil: none.
  static func find(
    _ input: SparseInput, counts: [(vertical: Int, slash: Int)?], lastQueries: Int, on backend: any Backend
  ) throws(TamisError) -> [VerticalSlashLines?] {
    let heads = counts.indices.filter { counts[$0] != nil }
    let first = max(0, input.queries - lastQueries)
    let last = try LastQueries(input, rows: Array(first..<input.queries), heads: heads, on: backend)
    var lines = [VerticalSlashLines?](repeating: nil, count: counts.count)
    lines.withUnsafeMutableBufferPointer { lines in
      backend.parallel(heads.count) { task in
        let h = heads[task]
        let (columns, slashes) = (last.columns(h), last.slashes(h))
        for t in 0..<min(VerticalSlash.forcedColumns, last.keys) { columns[t] = .infinity }
        for s in 0..<min(VerticalSlash.forcedSlashes, last.span) { slashes[s] = .infinity }
        lines[h] = VerticalSlashLines(
          columns: largest(columns, last.keys, max(counts[h]!.vertical, 30)),
          slashes: largest(slashes, last.span, max(counts[h]!.slash, 50)))
      }
    }
    return lines
  }

  /// Keys of one block, ascending.
  func keys(_ input: SparseInput, _ b: Int, _ queryBlock: Int) -> ContiguousArray<Int32> {
    let legal = input.legal(block: b, of: queryBlock)
    let end = input.mask.queryOffset + (b + 1) * queryBlock
    var list = ContiguousArray<Int32>()
    var column = 0
    func emit(_ range: Range<Int>) {
      let (low, high) = (max(range.lowerBound, legal.lowerBound), min(range.upperBound, legal.upperBound))
      while column < columns.count && columns[column] < range.lowerBound {
        if legal.contains(Int(columns[column])) { list.append(columns[column]) }
        column += 1
      }
      while column < columns.count && columns[column] < range.upperBound { column += 1 }
      if low < high { list.append(contentsOf: BlockRow.list(low..<high)) }
    }
    var run = 0..<0
    for slash in slashes.reversed() where Int(slash) < end {
      let stop = max(end - Int(slash), queryBlock)
      if run.isEmpty || stop - queryBlock > run.upperBound {
        emit(run)
        run = stop - queryBlock..<stop
      }
      while run.upperBound < stop { run = run.lowerBound..<run.upperBound + VerticalSlash.tile }
    }
    emit(run)
    emit(input.keys..<input.keys)
    return list
  }
}
