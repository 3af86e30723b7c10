import CShims
import TamisCore
import TamisDevice

/// Sums over tiles of the softmax of antidiagonal logits (XAttention, arXiv 2503.16428, section 2). A pair of S queries is a
/// lane of a panel, a pair of S keys a row: S head_dim consecutive floats of a packed f32 tensor as they lie.
struct Antidiagonals: @unchecked Sendable {
  private static let lanes = VectorPanels.lanes
  /// Key pairs that are widened together.
  private static let run = 32

  let input: SparseInput
  let queryBlock, keyBlock, stride: Int
  /// Query blocks of a task, and panels that hold their pairs.
  private let blocksPerTask, panels: Int
  private let keyPairs: Int
  /// Floats of a pair.
  private var width: Int { stride * input.headDim }

  init(_ input: SparseInput, queryBlock: Int, keyBlock: Int, stride: Int, threads: Int) {
    self.input = input
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
    self.stride = stride
    keyPairs = (input.keys + stride - 1) / stride
    let pairs = queryBlock / stride
    let blocks = input.blocks(of: queryBlock)
    // Four panels amortise widening the keys; fewer where that would leave threads idle.
    let fair = max(1, blocks * input.heads / (4 * threads))
    blocksPerTask = max(1, min(fair, 4 * Self.lanes / pairs, blocks))
    panels = (blocksPerTask * pairs + Self.lanes - 1) / Self.lanes
  }

  private var tasksPerHead: Int { (input.blocks(of: queryBlock) + blocksPerTask - 1) / blocksPerTask }
  /// Tasks of one head.
  var tasks: Int { tasksPerHead }

  /// Calls `body(head, block, row, scores)` for the blocks of a task of 0 ..< heads * tasks; `scores` is indexed by tile and
  /// may be overwritten.
  func forEachRow(_ task: Int, _ body: (_ head: Int, _ block: Int, BlockRow, UnsafeMutablePointer<Float>) -> Void) {
    let head = task % input.heads
    let first = (tasksPerHead - 1 - task / input.heads) * blocksPerTask
    let blocks = first..<min(first + blocksPerTask, input.blocks(of: queryBlock))
    let rows = blocks.map { input.row($0, queryBlock: queryBlock, keyBlock: keyBlock) }
    let tiles = rows.map(\.tiles).filter { !$0.isEmpty }
    guard let low = tiles.map(\.lowerBound).min(), let high = tiles.map(\.upperBound).max() else {
      withUnsafeTemporaryAllocation(of: Float.self, capacity: 1) { none in
        for (b, row) in zip(blocks, rows) { body(head, b, row, none.baseAddress!) }
      }
      return
    }
    let keys = low * keyBlock / stride..<min(high * keyBlock / stride, keyPairs)
    let table = PairTable(keys: keys, tiles: high - low, panels: panels, width: width, run: Self.run)
    pack(head, blocks, table)
    bound(blocks, table)
    fill(head, table)
    for p in 0..<panels { sumTiles(p, low..<high, table) }
    withUnsafeTemporaryAllocation(of: Float.self, capacity: high) { scores in
      for (b, row) in zip(blocks, rows) {
        sum(b - first, row, low, table, scores.baseAddress!)
        body(head, b, row, scores.baseAddress!)
      }
    }
  }

  /// Memory of one task.
  private final class PairTable {
    let keys: Range<Int>
    let queries, scores, wide, part, rescale: UnsafeMutablePointer<Float>
    /// Pairs of keys that each lane may see.
    let low, high: UnsafeMutablePointer<Int32>
    /// Past the last pair that a lane of each panel may see.
    var ends: [Int]
    let width: Int
    private let rows: Int
    private let memory: UnsafeMutableRawPointer

    init(keys: Range<Int>, tiles: Int, panels: Int, width: Int, run: Int) {
      self.keys = keys
      self.width = width
      let lanes = panels * Antidiagonals.lanes
      // Room for a tile sum where a tile has no pair below the last one.
      rows = max(keys.count, tiles)
      let floats = lanes * width + lanes * rows + run * (width + Antidiagonals.lanes) + 3 * lanes
      memory = .allocate(byteCount: floats * 4, alignment: 64)
      let start = memory.bindMemory(to: Float.self, capacity: floats)
      queries = start
      scores = queries + lanes * width
      rescale = scores + lanes * rows
      low = UnsafeMutableRawPointer(rescale + lanes).assumingMemoryBound(to: Int32.self)
      high = low + lanes
      wide = rescale + 3 * lanes
      part = wide + run * width
      ends = .init(repeating: 0, count: panels)
    }

    deinit { memory.deallocate() }

    /// [rows][32] of panel p.
    func panel(_ p: Int) -> UnsafeMutablePointer<Float> { scores + p * rows * Antidiagonals.lanes }
  }

  /// Lane i of the task's panels is pair i of its queries; what is past the end is zero.
  private func pack(_ head: Int, _ blocks: Range<Int>, _ t: PairTable) {
    let d = input.headDim
    let end = min(blocks.upperBound * queryBlock, input.queries)
    let inPlace = input.q.dtype == .f32 && input.q.stride[2] == 1
    withUnsafeTemporaryAllocation(of: Float.self, capacity: Self.lanes * d) { rows in
      for p in 0..<panels {
        for offset in 0..<stride {
          let pairs = blocks.lowerBound * queryBlock + p * Self.lanes * stride + stride - 1 - offset
          VectorPanels.pack(t.queries + (p * stride + offset) * Self.lanes * d, d) { lane in
            let i = pairs + lane * stride
            if i >= end { return nil }
            if inPlace { return UnsafePointer(input.q.row(head, i).assumingMemoryBound(to: Float.self)) }
            let row = rows.baseAddress! + lane * d
            input.q.loadRow(head, i, to: row, Kernels.active)
            return UnsafePointer(row)
          }
        }
      }
    }
  }

  private func fill(_ head: Int, _ t: PairTable) {
    let (d, k, kvHead) = (input.headDim, input.k, head / input.group)
    let inPlace = k.dtype == .f32 && k.stride[2] == 1 && k.stride[1] == d
    let whole = input.keys / stride
    var b = t.keys.lowerBound
    while b < t.keys.upperBound {
      var n = min(Self.run, t.keys.upperBound - b)
      let rows: UnsafePointer<Float>
      if inPlace && b < whole {
        n = min(n, whole - b)
        rows = UnsafePointer(k.row(kvHead, b * stride).assumingMemoryBound(to: Float.self))
      } else {
        let tokens = min(n * stride, input.keys - b * stride)
        k.loadRows(kvHead, b * stride, count: tokens, to: t.wide, Kernels.active)
        (t.wide + tokens * d).update(repeating: 0, count: n * width - tokens * d)
        rows = UnsafePointer(t.wide)
      }
      for p in 0..<panels where t.ends[p] > b {
        // One offset within the pairs at a time: its part of the panel stays in the nearest cache.
        let to = t.panel(p) + (b - t.keys.lowerBound) * Self.lanes
        for offset in 0..<stride {
          let queries = t.queries + (p * stride + offset) * Self.lanes * d
          Kernels.active.pointee.prefill.scores_f32(rows + offset * d, width, n, queries, d, offset == 0 ? to : t.part)
          if offset > 0 { Kernels.active.pointee.add_scaled(to, t.part, n * Self.lanes, 1) }
        }
      }
      b += n
    }
  }

  /// What each lane may see.
  private func bound(_ blocks: Range<Int>, _ t: PairTable) {
    for p in 0..<panels {
      t.ends[p] = t.keys.lowerBound
      for lane in p * Self.lanes..<(p + 1) * Self.lanes {
        let legal = legal(blocks.lowerBound * queryBlock + lane * stride)
        t.low[lane] = Int32(truncatingIfNeeded: legal.lowerBound)
        t.high[lane] = Int32(truncatingIfNeeded: legal.upperBound)
        t.ends[p] = max(t.ends[p], min(legal.upperBound, t.keys.upperBound))
      }
    }
  }

  /// Softmax of each lane over the pairs it may see, then its sums over tiles: row i of the panel becomes tile i of `tiles`.
  private func sumTiles(_ p: Int, _ tiles: Range<Int>, _ t: PairTable) {
    let table = Kernels.active
    let log2e: Float = 1.442_695_04
    let at = p * Self.lanes
    let rows = t.ends[p] - t.keys.lowerBound
    let panel = t.panel(p)
    var (m, l) = (SIMD32<Float>(repeating: -.infinity), SIMD32<Float>.zero)
    withUnsafeMutableBytes(of: &m) { m in
      withUnsafeMutableBytes(of: &l) { l in
        if rows == 0 { return }
        table.pointee.clean_logits(panel, rows * Self.lanes)
        _ = table.pointee.prefill.softmax_f32(
          panel, rows, Int32(truncatingIfNeeded: t.keys.lowerBound), t.low + at, t.high + at,
          input.rule.scale / Float(stride) * log2e, input.rule.softcap, nil, m.baseAddress!.assumingMemoryBound(to: Float.self),
          l.baseAddress!.assumingMemoryBound(to: Float.self), t.rescale)
      }
    }
    let inverse = (1 / l).replacing(with: 0, where: .!(l .> 0))
    let perTile = keyBlock / stride
    for tile in tiles {
      let from = max(tile * perTile - t.keys.lowerBound, 0)
      let to = min((tile + 1) * perTile - t.keys.lowerBound, rows)
      var sum = SIMD32<Float>.zero
      if from < to {
        for b in from..<to { sum += UnsafeRawPointer(panel + b * Self.lanes).load(as: SIMD32<Float>.self) }
      }
      let home = UnsafeMutableRawPointer(panel + (tile - tiles.lowerBound) * Self.lanes)
      home.storeBytes(of: sum * inverse, as: SIMD32<Float>.self)
    }
  }

  /// Key pairs that the pair of queries from `query` on may see.
  private func legal(_ query: Int) -> Range<Int> {
    if query >= input.queries { return 0..<0 }
    let first = input.legal(query)
    let last = input.legal(min(query + stride, input.queries) - 1)
    if last.isEmpty && first.isEmpty { return 0..<0 }
    let low = first.isEmpty ? last.lowerBound : first.lowerBound
    return low / stride..<(max(first.upperBound, last.upperBound) + stride - 1) / stride
  }

  /// scores[tile] = sum over the block's lanes of what `sumTiles` left.
  private func sum(
    _ block: Int, _ row: BlockRow, _ firstTile: Int, _ t: PairTable, _ scores: UnsafeMutablePointer<Float>
  ) {
    let pairs = block * queryBlock / stride..<(block + 1) * queryBlock / stride
    for tile in row.tiles {
      var total: Float = 0
      for lane in pairs {
        total += t.panel(lane / Self.lanes)[(tile - firstTile) * Self.lanes + lane % Self.lanes]
      }
      scores[tile] = total
    }
  }
}
