public import TamisCore
public import TamisDevice

/// MInference (arXiv 2407.02490): a pattern for each head, found offline, and its lists from the input. Lists are of tokens,
/// for heads differ.
public struct MInference: TileSelector {
  public enum Pattern: Sendable, Equatable {
    case aShape(sinks: Int, local: Int)
    case verticalSlash(vertical: Int, slash: Int)
    case blockTopK(Int)
  }

  public let queryBlock: Int
  public var keyBlock: Int { 1 }
  /// One for each query head; nil: vertical-slash 1000, 6096 for all, the official code's pattern of an unknown head.
  public let patterns: [Pattern]?
  public let lastQueries: Int

  /// - Throws: `invalidArgument` for a number out of range.
  public init(queryBlock: Int = 64, patterns: [Pattern]? = nil, lastQueries: Int = 64) throws(TamisError) {
    try checkBlocks(queryBlock, 8)
    try checkSampledRows(lastQueries, atMost: 4096)
    for (h, pattern) in (patterns ?? []).enumerated() {
      let (first, second) =
        switch pattern {
        case .aShape(let sinks, let local): (sinks, local - 1)
        case .verticalSlash(let vertical, let slash): (vertical - 1, slash - 1)
        case .blockTopK(let blocks): (blocks - 1, 0)
        }
      try require(first >= 0 && second >= 0, "patterns[\(h)] is \(pattern); expected numbers of at least 1 (sinks: 0)")
    }
    self.queryBlock = queryBlock
    self.patterns = patterns
    self.lastQueries = lastQueries
  }

  public func listHeads(_ input: SparseInput) -> Int { input.heads }

  public func select(_ input: SparseInput, on backend: any Backend, progress: Progress?) throws(TamisError) -> TileSelection {
    try requireCausal(input)
    let patterns = patterns ?? .init(repeating: .verticalSlash(vertical: 1000, slash: 6096), count: input.heads)
    try require(
      patterns.count == input.heads, "patterns has \(patterns.count) entries; expected \(input.heads), the heads of q")
    let blocks = input.blocks(of: queryBlock)
    let counts = patterns.map { pattern -> (vertical: Int, slash: Int)? in
      if case .verticalSlash(let vertical, let slash) = pattern { (vertical, slash) } else { nil }
    }
    let lines = try VerticalSlashLines.find(input, counts: counts, lastQueries: lastQueries, on: backend)
    try goOn(progress, 0.5)
    var lists = [ContiguousArray<Int32>](repeating: [], count: input.heads * blocks)
    if patterns.contains(where: { if case .blockTopK = $0 { true } else { false } }) {
      try BlockTopK.forEachRow(input, queryBlock, VerticalSlash.tile, on: backend) { h in
        if case .blockTopK(let n) = patterns[h] { n } else { nil }
      } body: { h, b, tiles in
        let legal = input.legal(block: b, of: queryBlock)
        for tile in tiles {
          let range = Int(tile) * VerticalSlash.tile..<(Int(tile) + 1) * VerticalSlash.tile
          lists[h * blocks + b] += BlockRow.list(range.clamped(to: legal))
        }
      }
    }
    lists.withUnsafeMutableBufferPointer { lists in
      backend.parallel(input.heads * blocks) { task in
        let (h, b) = (task / blocks, task % blocks)
        switch patterns[h] {
        case .aShape(let sinks, let local):
          for range in AShape.keys(input, b, queryBlock, sinks: sinks, local: local) { lists[task] += BlockRow.list(range) }
        case .verticalSlash: lists[task] = lines[h]!.keys(input, b, queryBlock)
        case .blockTopK: break
        }
      }
    }
    try goOn(progress, 1)
    return TileSelection(rows: lists)
  }
}
