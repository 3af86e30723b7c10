import TamisCore

/// The key tiles of one query block.
struct BlockRow: Equatable {
  /// Tiles with a key that some query of the block may see; empty when there is none.
  let tiles: Range<Int>
  /// The tiles of the block's own positions, within `tiles`.
  let diagonal: Range<Int>

  var last: Int { tiles.upperBound - 1 }
  /// All of `tiles`, as a list.
  var all: ContiguousArray<Int32> { Self.list(tiles) }

  static func list(_ tiles: Range<Int>) -> ContiguousArray<Int32> {
    ContiguousArray(tiles.lazy.map { Int32(truncatingIfNeeded: $0) })
  }
}

extension SparseInput {
  func blocks(of size: Int) -> Int { (queries + size - 1) / size }
  func tiles(of size: Int) -> Int { (keys + size - 1) / size }

  /// Queries of block b.
  func block(_ b: Int, of size: Int) -> Range<Int> { b * size..<min((b + 1) * size, queries) }

  /// Keys that some query of block b may see: ranges of neighbouring queries overlap or touch, so that there is no gap.
  func legal(block b: Int, of size: Int) -> Range<Int> {
    let block = block(b, of: size)
    let low = legal(block.lowerBound)
    let high = legal(block.upperBound - 1)
    if low.isEmpty { return high }
    return low.lowerBound..<max(low.upperBound, high.upperBound)
  }

  func row(_ b: Int, queryBlock: Int, keyBlock: Int) -> BlockRow {
    let legal = legal(block: b, of: queryBlock)
    if legal.isEmpty { return BlockRow(tiles: 0..<0, diagonal: 0..<0) }
    let tiles = legal.lowerBound / keyBlock..<(legal.upperBound - 1) / keyBlock + 1
    let block = block(b, of: queryBlock)
    // Queries may stand before the first key or past the last.
    func tile(_ query: Int) -> Int {
      let key = min(max(mask.queryOffset + query, 0), keys - 1)
      return min(max(key / keyBlock, tiles.lowerBound), tiles.upperBound - 1)
    }
    return BlockRow(tiles: tiles, diagonal: tile(block.lowerBound)..<tile(block.upperBound - 1) + 1)
  }
}

/// How many tiles of n a share is: floor(share n), at least 1. The slack is less than what rounding to f32 takes from a share
/// such as 0.7.
func tileBudget(_ share: Float, of n: Int) -> Int {
  min(n, max(1, Int((Double(share) * Double(n) * (1 + 1e-7)).rounded(.down))))
}

/// A number of tokens as tiles, rounded down, at least 1.
func tileBudget(tokens: Int, keyBlock: Int) -> Int { max(1, tokens / keyBlock) }
