import CShims
public import TamisCore

extension CPUBackend {
  public func addColumnSums(
    q: TensorView, k: TensorView, rule: AttentionRule, mask: DenseMask, lse: TensorView, heads: [Int],
    to sums: UnsafeMutablePointer<Double>, stride: Int, progress: Progress?
  ) throws(TamisError) {
    let c = q.shape[1]
    if c == 0 || heads.isEmpty { return }
    let rows = AttendedRows(k: k, v: k)
    levelScratch()
    shared.reset(reserving: 2 * Scratch.bytes(Int.self, c))
    let low = shared.take(Int.self, c)
    let high = shared.take(Int.self, c)
    for i in 0..<c {
      let seen = mask.seen(by: i, window: rule.window, of: rows.count)
      (low[i], high[i]) = (seen.lowerBound, seen.upperBound)
    }
    let work = ColumnSums(
      rows: rows, rule: rule, q: q, lse: lse, heads: heads, group: q.shape[0] / k.shape[0], low: low, high: high, sums: sums,
      stride: stride, table: kernels, f32Products: mask.f32Products || mask.blas || q.dtype != .bf16 || k.dtype != .bf16)
    try run(work.taskCount, progress) { work.run($0, $1) }
  }
}

/// Sums over queries of the columns of attention weights p = exp(z - lse), recomputed: no table of weights is kept.
///
/// A task owns a run of columns of one head and walks down the queries, so that each sum has one writer and one order, whatever
/// the number of threads. Many queries take the transposed kernels (a query is a lane, as in `TiledAttention`), a few take row
/// products.
struct ColumnSums {
  static let lanes = Int(TK_PANEL_LANES)
  static let tileKeys = 256
  /// Fewer queries than this would leave most lanes empty.
  static let fewQueries = 8

  let rows: AttendedRows
  let rule: AttentionRule
  let q: TensorView
  let lse: TensorView
  let heads: [Int]
  let group: Int
  /// Places [low[i], high[i]) that query i may see; both rise with i.
  let low: UnsafePointer<Int>
  let high: UnsafePointer<Int>
  let sums: UnsafeMutablePointer<Double>
  let stride: Int
  let table: UnsafePointer<tk_table>
  /// Products of bf16 pairs; otherwise f32.
  private let pairs: Bool
  private let widens: Bool
  private let kernels: RowKernels
  private let prefill: tk_prefill
  private let queryFactor: Float
  private let logitScale: Float

  init(
    rows: AttendedRows, rule: AttentionRule, q: TensorView, lse: TensorView, heads: [Int], group: Int, low: UnsafePointer<Int>,
    high: UnsafePointer<Int>, sums: UnsafeMutablePointer<Double>, stride: Int, table: UnsafePointer<tk_table>, f32Products: Bool
  ) {
    (self.rows, self.rule, self.q, self.lse, self.heads, self.group) = (rows, rule, q, lse, heads, group)
    (self.low, self.high, self.sums, self.stride, self.table) = (low, high, sums, stride, table)
    prefill = table.pointee.prefill
    kernels = RowKernels(table, rows.dtype)
    // As in TiledAttention: softmax wants a positive scale, and one too small for f32 moves to the queries.
    let positive = rule.scale > 1e-20
    (queryFactor, logitScale) = positive ? (1, rule.scale * Self.log2e) : (rule.scale, Self.log2e)
    pairs = !f32Products && prefill.scores_bf16 != nil && positive && q.stride[2] == 1
    widens = f32Products && (rows.dtype == .bf16 || rows.dtype == .i8) && prefill.scores_bf16 != nil
  }

  private static let log2e: Float = 1.442_695_04

  private var c: Int { q.shape[1] }
  private var tiles: Int { (rows.count + Self.tileKeys - 1) / Self.tileKeys }
  var taskCount: Int { heads.count * tiles }

  func run(_ task: Int, _ scratch: Scratch) {
    let key = task % tiles * Self.tileKeys
    let n = min(Self.tileKeys, rows.count - key)
    // Queries that see some key of the tile.
    var first = 0
    while first < c && high[first] <= key { first += 1 }
    var end = c
    while end > first && low[end - 1] >= key + n { end -= 1 }
    if first >= end { return }
    let to = sums + task / tiles * stride + key
    let head = heads[task / tiles]
    if c < Self.fewQueries {
      addRows(head, first, end, key, n, to, scratch)
    } else {
      addPanels(head, first / Self.lanes * Self.lanes, end, key, n, to, scratch)
    }
  }

  private func base2(_ head: Int, _ i: Int) -> Float {
    let value = lse.data.assumingMemoryBound(to: Float.self)[head * lse.stride[0] + i * lse.stride[1]]
    return Float(Double(value) * 1.442_695_040_888_963_4)
  }

  // MARK: many queries

  private struct Panel {
    let qT, sT, keys, queries, lse, bias: UnsafeMutablePointer<Float>
    let lo, hi: UnsafeMutablePointer<Int32>
    let sources: UnsafeMutablePointer<UnsafePointer<Float>?>
    let sources16: UnsafeMutablePointer<UnsafePointer<UInt16>?>

    init(_ d: Int, _ scratch: Scratch) {
      let lanes = ColumnSums.lanes
      let tile = ColumnSums.tileKeys
      func bytes(_ floats: Int) -> Int { Scratch.bytes(Float.self, floats) }
      scratch.reset(
        reserving: 2 * bytes(d * lanes) + bytes(tile * lanes) + bytes(tile * d) + 4 * bytes(lanes) + 2 * bytes(2 * lanes))
      func floats(_ count: Int) -> UnsafeMutablePointer<Float> { scratch.take(Float.self, count) }
      (qT, queries, sT, keys) = (floats(d * lanes), floats(d * lanes), floats(tile * lanes), floats(tile * d))
      (lse, bias) = (floats(lanes), floats(lanes))
      (lo, hi) = (scratch.take(Int32.self, lanes), scratch.take(Int32.self, lanes))
      sources = scratch.take(UnsafePointer<Float>?.self, lanes)
      sources16 = scratch.take(UnsafePointer<UInt16>?.self, lanes)
    }
  }

  private func addPanels(
    _ head: Int, _ first: Int, _ end: Int, _ key: Int, _ n: Int, _ to: UnsafeMutablePointer<Double>, _ scratch: Scratch
  ) {
    let d = rows.headDim
    let s = Panel(d, scratch)
    var tile = rows.keyRows(rows.block(at: key, before: key + n, most: n), head: head / group)
    if !pairs && rows.dtype != .f32 {
      kernels.gather(&tile, n, Int32(d), s.keys)
      tile = tk_rows(base: s.keys, rows: nil, stride: d, scale: nil, scale_stride: 0, ahead: nil, ahead_count: 0)
    }
    for lane in 0..<Self.lanes { s.bias[lane] = rule.keyZeroBias?[head] ?? 0 }
    var query = first
    while query < end {
      // Keys before the panel's first legal one (but for alignment) and past its last are not even scored.
      let (begin, past) = open(head, query, s)
      let from = max(0, begin - key) & ~7
      let keys = min(n, past - key) - from
      if keys > 0 { add(tile, key, from, keys, to, s) }
      query += Self.lanes
    }
  }

  /// Packs a panel of queries; the places it sees.
  private func open(_ head: Int, _ query: Int, _ s: Panel) -> (begin: Int, end: Int) {
    let d = rows.headDim
    var (begin, end) = (Int.max, 0)
    for lane in 0..<Self.lanes {
      let i = query + lane
      (s.lo[lane], s.hi[lane], s.lse[lane]) = (0, 0, -.infinity)
      (s.sources[lane], s.sources16[lane]) = (nil, nil)
      if i >= c || low[i] >= high[i] { continue }
      (s.lo[lane], s.hi[lane]) = (Int32(truncatingIfNeeded: low[i]), Int32(truncatingIfNeeded: high[i]))
      s.lse[lane] = base2(head, i)
      (begin, end) = (min(begin, low[i]), max(end, high[i]))
      if pairs {
        s.sources16[lane] = UnsafePointer(q.row(head, i).assumingMemoryBound(to: UInt16.self))
      } else if q.dtype == .f32 && q.stride[2] == 1 {
        s.sources[lane] = UnsafePointer(q.row(head, i).assumingMemoryBound(to: Float.self))
      } else {
        q.loadRow(head, i, to: s.queries + lane * d, table)
        s.sources[lane] = UnsafePointer(s.queries + lane * d)
      }
    }
    if pairs {
      prefill.pack_queries_bf16(s.sources16, d, UnsafeMutableRawPointer(s.qT).assumingMemoryBound(to: UInt16.self))
    } else {
      prefill.pack_queries_f32(s.sources, d, queryFactor, s.qT)
    }
    return (begin == Int.max ? end : begin, end)
  }

  private func add(
    _ tile: tk_rows, _ key: Int, _ from: Int, _ keys: Int, _ to: UnsafeMutablePointer<Double>, _ s: Panel
  ) {
    let d = rows.headDim
    if pairs {
      let k = tile.base!.assumingMemoryBound(to: UInt16.self) + from * tile.stride
      prefill.scores_bf16!(k, tile.stride, keys, UnsafeRawPointer(s.qT).assumingMemoryBound(to: UInt16.self), d, s.sT)
    } else {
      prefill.scores_f32(tile.base!.assumingMemoryBound(to: Float.self) + from * tile.stride, tile.stride, keys, s.qT, d, s.sT)
    }
    prefill.column_sums(
      s.sT, keys, Int32(truncatingIfNeeded: key + from), s.lo, s.hi, logitScale, rule.softcap,
      rule.keyZeroBias == nil ? nil : UnsafePointer(s.bias), s.lse, to + from)
  }

  // MARK: a few queries

  private func addRows(
    _ head: Int, _ first: Int, _ end: Int, _ key: Int, _ n: Int, _ to: UnsafeMutablePointer<Double>, _ scratch: Scratch
  ) {
    let d = rows.headDim
    let count = end - first
    let span = AttendedRows.block
    scratch.reset(
      reserving: tk_queries.bytes(count: count, dim: d) + Scratch.bytes(Float.self, count * span)
        + Scratch.bytes(Float.self, span * d))
    let queries = tk_queries(count: count, dim: d, in: scratch)
    let z = scratch.take(Float.self, count * span)
    let widened = scratch.take(Float.self, span * d)
    for i in 0..<count { q.loadRow(head, first + i, to: queries.f32! + i * d, table) }
    if !widens && rows.dtype != .f32 && rows.dtype != .f16 {
      withUnsafePointer(to: queries) { table.pointee.prepare_queries($0) }
    }
    var at = key
    while at < key + n {
      let block = rows.block(at: at, before: key + n, most: span)
      var keys = rows.keyRows(block, head: head / group)
      if widens {
        kernels.gather(&keys, block.count, Int32(d), widened)
        keys = tk_rows(base: widened, rows: nil, stride: d, scale: nil, scale_stride: 0, ahead: nil, ahead_count: 0)
      }
      let dot = widens ? table.pointee.dot_f32 : kernels.dot
      withUnsafePointer(to: queries) { dot(&keys, block.count, $0, z, span) }
      for i in 0..<count { addRow(head, first + i, at, block.count, z + i * span, to + (at - key)) }
      at += block.count
    }
  }

  /// Weights of one query and a block of keys from their scores z, added to the keys' sums.
  private func addRow(
    _ head: Int, _ i: Int, _ at: Int, _ n: Int, _ z: UnsafeMutablePointer<Float>, _ to: UnsafeMutablePointer<Double>
  ) {
    let from = max(low[i] - at, 0)
    let end = min(high[i] - at, n)
    if from >= end { return }
    table.pointee.scale_cap(z + from, end - from, rule.scale, rule.softcap)
    if at + from == 0, let bias = rule.keyZeroBias { z[0] += bias[head] }
    // No logit is above the log-sum-exp (but for rounding), so that it stands in for the running maximum.
    var m = base2(head, i)
    var l: Float = 0
    _ = table.pointee.softmax_block(z + from, end - from, Self.log2e, &m, &l)
    for t in from..<end where !z[t].isNaN { to[t] += Double(z[t]) }
  }
}
