import CShims
import TamisCore

/// Exact attention of many queries over one list of places (FlashAttention-2, arXiv 2307.08691, algorithm 1) on the transposed
/// kernels: a query is a SIMD lane, a key is a row (docs/architecture.md).
///
/// The rows of a task are (query, head of the group) pairs, query major, so that all query heads of a KV head share each tile
/// of keys and values. A task owns `panels` panels of 32 rows and walks over the tiles once. Tasks are independent, and tile
/// boundaries are multiples of the tile's height, so what a panel computes depends neither on its neighbours nor on threads.
struct TiledAttention {
  static let lanes = QueryPanels.lanes
  static let tileKeys = QueryPanels.stepKeys

  let rows: AttendedRows
  let group: Int
  let c: Int
  /// Places [low[i], high[i]) that query i may see.
  let low: UnsafePointer<Int>
  let high: UnsafePointer<Int>
  let panels: Int
  let blocks: Int
  private let queries: QueryPanels
  /// Every query sees every key: then a value that is not finite may stay in its tile, for it reaches all of them anyway.
  private let seesAll: Bool
  private let biased: Bool
  private let pvThreshold: Float

  init(
    rows: AttendedRows, rotation: Rotation, rule: AttentionRule, q: TensorView, out: TensorView, lse: TensorView?, group: Int,
    firstPosition: Int, low: UnsafePointer<Int>, high: UnsafePointer<Int>, table: UnsafePointer<tk_table>,
    f32Products: Bool, pvThreshold: Float = 0, threads: Int
  ) {
    self.rows = rows
    self.group = group
    c = q.shape[1]
    self.pvThreshold = pvThreshold
    self.low = low
    self.high = high
    queries = QueryPanels(
      q: q, out: out, lse: lse, dtype: rows.dtype, rule: rule, rotation: rotation, firstPosition: firstPosition, table: table,
      f32Products: f32Products)
    seesAll = (0..<q.shape[1]).allSatisfy { low[$0] <= 0 && high[$0] >= rows.count }
    biased = rule.keyZeroBias != nil && rows.count > 0 && rows.token(at: 0) == 0

    let kvHeads = q.shape[0] / group
    let allPanels = (c * group + Self.lanes - 1) / Self.lanes
    // As many as amortise a tile's loading; fewer where that would leave threads idle.
    panels = min(QueryPanels.most, max(1, allPanels * kvHeads / threads))
    blocks = (allPanels + panels - 1) / panels
  }

  var kvHeads: Int { queries.q.shape[0] / group }
  var taskCount: Int { blocks * kvHeads }

  /// One KV head after the other, so that its keys and values stay in the last-level cache while all its blocks use them, and
  /// within a head the blocks in order of decreasing causal work, so that threads finish together.
  func run(_ task: Int, _ scratch: Scratch) {
    let kvHead = task / blocks
    let these = QueryPanels.Rows(firstHead: kvHead * group, heads: group, firstQuery: 0, count: c * group)
    let firstRow = (blocks - 1 - task % blocks) * panels * Self.lanes
    let count = min(panels, (these.count - firstRow + Self.lanes - 1) / Self.lanes)
    let s = PanelScratch(queries, panels: panels, scratch)
    for p in 0..<count { queries.open(p, these, firstRow + p * Self.lanes, s) { (low[$0], high[$0]) } }
    let (begin, end) = queries.span(count, s)
    var key = begin / Self.tileKeys * Self.tileKeys
    while key < end {
      let step = load(kvHead, key, min(Self.tileKeys, end - key), s)
      for p in 0..<count { queries.attend(p, step, biased: biased, pvThreshold: pvThreshold, s) }
      key += step.keys
    }
    for p in 0..<count { queries.close(p, these, firstRow + p * Self.lanes, s) }
  }

  // MARK: tiles

  /// Keys (turned to where they stand) and values of places [place, place + n): where they lie if they lie right, else in
  /// scratch.
  private func load(_ head: Int, _ place: Int, _ n: Int, _ s: PanelScratch) -> KeyStep {
    let d = rows.headDim
    let pairs = queries.pairs
    let run = rows.block(at: place, before: place + n, most: n)
    var step = KeyStep(place: place, keys: n, segments: 1)
    var tile = KeySegment(start: 0, count: n, k: s.tileK, kRow: d, v: s.tileV, vRow: d, size: pairs ? 2 : 4)
    defer { s.segments[0] = tile }
    if run.count == n, run.rows == nil, queries.rotation.half == 0, pairs || rows.dtype == .f32 {
      let k = rows.keyRows(run, head: head)
      let v = rows.valueRows(run, head: head)
      (tile.k, tile.kRow) = (UnsafeRawPointer(k.base!), k.stride)
      step.nonFinite = seesAll ? 0 : markNonFinite(v.base!, v.stride, place, n, head, s)
      if pairs && step.nonFinite == 0 {
        s.interleave(v.base!, v.stride, n, queries)
        return step
      }
      if step.nonFinite > 0 {
        gatherValues(place, n, head, s)
      } else {
        (tile.v, tile.vRow) = (UnsafeRawPointer(v.base!), v.stride)
      }
    } else {
      gatherKeys(place, n, head, s)
      gatherValues(place, n, head, s)
      step.nonFinite = seesAll ? 0 : markNonFinite(pairs ? s.gathered : s.tileV, d, place, n, head, s)
    }
    for i in 0..<step.nonFinite { s.clearValue(s.nonFinite[i].at, queries) }
    if pairs { s.interleave(s.gathered, d, n, queries) }
    return step
  }

  private func gatherKeys(_ place: Int, _ n: Int, _ head: Int, _ s: PanelScratch) {
    let d = rows.headDim
    let turns = queries.rotation.half > 0
    var at = 0
    while at < n {
      let block = rows.block(at: place + at, before: place + n, most: turns ? Rotation.span : n - at)
      s.gatherKeys(rows.keyRows(block, head: head), block.count, at, queries)
      if turns { turn(s.tileK + at * d, place + at, block, s) }
      at += block.count
    }
  }

  private func gatherValues(_ place: Int, _ n: Int, _ head: Int, _ s: PanelScratch) {
    var at = 0
    while at < n {
      let block = rows.block(at: place + at, before: place + n, most: n - at)
      s.gatherValues(rows.valueRows(block, head: head), block.count, at, queries)
      at += block.count
    }
  }

  /// Notes the rows (f32, or bf16 with pairs) that hold a NaN or an infinity; how many.
  private func markNonFinite(
    _ base: UnsafeRawPointer, _ stride: Int, _ place: Int, _ n: Int, _ head: Int, _ s: PanelScratch
  ) -> Int {
    var count = 0
    for t in 0..<n where queries.isNonFinite(base + t * stride * (queries.pairs ? 2 : 4)) {
      let row = rows.valueRows(rows.block(at: place + t, before: place + t + 1, most: 1), head: head)
      s.nonFinite[count] = NonFiniteValue(at: t, row: row)
      count += 1
    }
    return count
  }

  /// Turns a block of keys by their place within the block, then all by where the block starts: rotations add up.
  private func turn(_ keys: UnsafeMutablePointer<Float>, _ place: Int, _ block: AttendedRows.Block, _ s: PanelScratch) {
    let d = rows.headDim
    let rotation = queries.rotation
    let table = queries.table
    let half = rotation.half
    if queries.rule.positions == .natural && block.isSelected {
      let offset = (place - rows.sinks) * half
      rotation.turn(keys, block.count, d, rotation.selectedCos! + offset, rotation.selectedSin! + offset, stride: half, table)
      return
    }
    rotation.turn(keys, block.count, d, rotation.cos, rotation.sin, stride: half, table)
    let start = queries.rule.positions == .natural ? rows.token(at: place) : place
    table.pointee.angles(Double(start), rotation.frequency, half, s.cos, s.sin)
    rotation.turn(keys, block.count, d, s.cos, s.sin, stride: 0, table)
  }
}
