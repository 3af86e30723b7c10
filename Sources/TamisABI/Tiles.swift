// tamis_tiles of a caller to checked lists.
import CTamis
import Tamis

extension tamis_tiles: VersionedStruct {
  static var firstSize: Int { 40 }
  static var defaults: Self {
    Self(struct_size: currentSize, heads: 1, query_block: 128, key_block: 64, row_ptr: nil, index: nil, n_rows: 0)
  }
}

/// A tamis_tiles argument after every check: lists whose every offset and tile is in range.
struct TileArgument {
  /// Of batch element 0; those of the others follow.
  let lists: TileLists
  /// Byte addresses of the row starts and of the tiles.
  let startBytes, indexBytes: Range<UInt>

  /// For tensors of `batch` elements, `queries` queries and `keys` keys, and one of `heads` lists each; nil: any number.
  init(
    _ pointer: UnsafePointer<tamis_tiles>?, batch: Int, queries: Int, keys: Int, heads allowed: (kv: Int, query: Int)?
  ) throws(TamisError) {
    _ = try need(pointer, "tiles")
    let raw = try read(pointer, "tiles")
    let heads = try count(raw.heads, "tiles->heads", from: 1)
    if let allowed {
      try require(
        heads == 1 || heads == allowed.kv || heads == allowed.query,
        "tiles->heads is \(heads); expected 1, \(allowed.kv) (the heads of k) or \(allowed.query) (the heads of q)")
    }
    let queryBlock = try count(raw.query_block, "tiles->query_block", from: 1)
    let keyBlock = try count(raw.key_block, "tiles->key_block", from: 1)
    let blocks = (queries + queryBlock - 1) / queryBlock
    let (lists, overflow) = batch.multipliedReportingOverflow(by: heads)
    let (rows, overflow2) = lists.multipliedReportingOverflow(by: blocks)
    try require(
      !overflow && !overflow2 && rows < Int.max / 8 && Int(raw.n_rows) == rows,
      "tiles->n_rows is \(raw.n_rows); expected a batch of \(batch) times \(heads) heads times \(blocks) query blocks")
    let starts = try need(raw.row_ptr, "tiles->row_ptr")
    try requireExtent(starts, rows + 1, "tiles->row_ptr")
    let tiles = (keys + keyBlock - 1) / keyBlock
    let total = try Self.checkStarts(starts, rows, tiles)
    var index = UnsafePointer<Int32>(bitPattern: MemoryLayout<Int32>.alignment)!
    if raw.index != nil || total > 0 {
      index = try need(raw.index, "tiles->index")
      try requireExtent(index, total, "tiles->index")
    }
    try Self.checkTiles(index, starts, rows, tiles)
    self.lists = TileLists(
      heads: heads, blocks: blocks, queryBlock: queryBlock, keyBlock: keyBlock, rowStart: starts, index: index)
    let (a, b) = (UInt(bitPattern: starts), UInt(bitPattern: index))
    startBytes = a..<a + UInt(rows + 1) * 8
    indexBytes = b..<b + UInt(total) * 4
  }

  /// The lists are read while outputs are written.
  func requireApart(from output: TensorArgument) throws(TamisError) {
    try TamisABI.requireApart(output.bytes, startBytes, output.name, "tiles->row_ptr")
    if !indexBytes.isEmpty { try TamisABI.requireApart(output.bytes, indexBytes, output.name, "tiles->index") }
  }

  /// The number of tiles in all rows.
  private static func checkStarts(_ starts: UnsafePointer<Int64>, _ rows: Int, _ tiles: Int) throws(TamisError) -> Int {
    try require(starts[0] == 0, "tiles->row_ptr[0] is \(starts[0]); expected 0")
    for row in 0..<rows {
      let (n, overflow) = starts[row + 1].subtractingReportingOverflow(starts[row])
      guard !overflow && n >= 0 && n <= Int64(tiles) else {
        throw .invalid(
          "tiles->row_ptr[\(row + 1)] is \(starts[row + 1]) after \(starts[row]); expected 0 to \(tiles) tiles in row \(row)")
      }
    }
    return Int(starts[rows])
  }

  /// Row by row, without a branch per tile: hosts hand over tens of millions.
  private static func checkTiles(
    _ index: UnsafePointer<Int32>, _ starts: UnsafePointer<Int64>, _ rows: Int, _ tiles: Int
  ) throws(TamisError) {
    for row in 0..<rows {
      let list = UnsafeBufferPointer(start: index + Int(starts[row]), count: Int(starts[row + 1] - starts[row]))
      if list.isEmpty { continue }
      var falls: Int32 = 0
      for i in 1..<max(list.count, 1) { falls |= list[i] > list[i &- 1] ? 0 : 1 }
      if falls != 0 || list[0] < 0 || Int(list[list.count - 1]) >= tiles { throw fault(in: list, row, tiles) }
    }
  }

  /// The first tile of a row that is out of range or out of order.
  private static func fault(in list: UnsafeBufferPointer<Int32>, _ row: Int, _ tiles: Int) -> TamisError {
    for (i, tile) in list.enumerated() {
      if tile < 0 || Int(tile) >= tiles {
        return .invalid("tiles: tile \(i) of row \(row) is \(tile); expected 0 to \(tiles - 1)")
      }
      if i > 0 && tile <= list[i - 1] {
        return .invalid(
          "tiles: tile \(i) of row \(row) is \(tile) after \(list[i - 1]); expected ascending tiles, each once")
      }
    }
    return .invalid("tiles: row \(row) changed while it was checked")
  }
}
