/// Which key tiles each query block attends, as compressed sparse rows: `tamis_tiles` of one batch element, already validated.
/// Borrowed memory.
public struct TileLists: @unchecked Sendable {
  /// 1 (shared by all heads), the number of KV heads, or of query heads.
  public var heads: Int
  /// Query blocks of a head: ceil(queries / queryBlock).
  public var blocks: Int
  public var queryBlock: Int
  /// Keys of a tile; 1: a tile is a token.
  public var keyBlock: Int
  /// [heads * blocks + 1], offsets into `index`.
  public var rowStart: UnsafePointer<Int64>
  public var index: UnsafePointer<Int32>

  public init(
    heads: Int, blocks: Int, queryBlock: Int, keyBlock: Int, rowStart: UnsafePointer<Int64>, index: UnsafePointer<Int32>
  ) {
    self.heads = heads
    self.blocks = blocks
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.rowStart = rowStart
    self.index = index
  }

  /// The lists of batch element `batch`, where those of all lie one after another.
  @inlinable public func element(_ batch: Int) -> TileLists {
    var lists = self
    lists.rowStart = rowStart + batch * heads * blocks
    return lists
  }

  /// The tiles of query block `block` of list head `head`, strictly ascending.
  @inlinable public func row(_ head: Int, _ block: Int) -> UnsafeBufferPointer<Int32> {
    let r = head &* blocks &+ block
    return UnsafeBufferPointer(start: index + Int(rowStart[r]), count: Int(rowStart[r + 1] - rowStart[r]))
  }
}

/// What a selector chose for a whole call: one list per (batch element, list head, query block). Immutable once made.
public final class TileMask: @unchecked Sendable {
  public let batch, heads, blocks, queryBlock, keyBlock: Int
  public let queries, keys: Int
  public let rowStart: UnsafeMutableBufferPointer<Int64>
  public let index: UnsafeMutableBufferPointer<Int32>
  /// Chunk boundaries of a DHSA selection, from 0 to `keys`; empty for other methods.
  public let boundaries: UnsafeMutableBufferPointer<Int64>

  public let boundaryCount: Int

  /// - Parameter rows: batch * heads * blocks lists, each strictly ascending.
  public init(
    batch: Int, heads: Int, queries: Int, keys: Int, queryBlock: Int, keyBlock: Int, rows: [ContiguousArray<Int32>],
    boundaries: [Int64] = []
  ) {
    self.batch = batch
    self.heads = heads
    self.queries = queries
    self.keys = keys
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    blocks = (queries + queryBlock - 1) / queryBlock
    precondition(rows.count == batch * heads * blocks)
    rowStart = .allocate(capacity: rows.count + 1)
    rowStart[0] = 0
    for (r, row) in rows.enumerated() { rowStart.initializeElement(at: r + 1, to: rowStart[r] + Int64(row.count)) }
    index = .allocate(capacity: max(1, Int(rowStart[rows.count])))
    for (r, row) in rows.enumerated() {
      for (i, tile) in row.enumerated() { index.initializeElement(at: Int(rowStart[r]) + i, to: tile) }
    }
    self.boundaries = .allocate(capacity: max(1, boundaries.count))
    _ = self.boundaries.initialize(from: boundaries)
    boundaryCount = boundaries.count
  }

  /// Copies lists that have been checked: those of `batch` elements, from row start 0 on.
  public init(copying lists: TileLists, batch: Int, queries: Int, keys: Int) {
    self.batch = batch
    heads = lists.heads
    blocks = lists.blocks
    self.queries = queries
    self.keys = keys
    queryBlock = lists.queryBlock
    keyBlock = lists.keyBlock
    let rows = batch * heads * blocks
    let tiles = Int(lists.rowStart[rows])
    rowStart = .allocate(capacity: rows + 1)
    rowStart.baseAddress!.initialize(from: lists.rowStart, count: rows + 1)
    index = .allocate(capacity: max(1, tiles))
    index.baseAddress!.initialize(from: lists.index, count: tiles)
    boundaries = .allocate(capacity: 1)
    boundaryCount = 0
  }

  deinit {
    rowStart.deallocate()
    index.deallocate()
    boundaries.deallocate()
  }

  /// The lists of one batch element; valid while the mask lives.
  public func lists(_ batch: Int = 0) -> TileLists {
    TileLists(
      heads: heads, blocks: blocks, queryBlock: queryBlock, keyBlock: keyBlock,
      rowStart: UnsafePointer(rowStart.baseAddress! + batch * heads * blocks), index: UnsafePointer(index.baseAddress!))
  }
}
