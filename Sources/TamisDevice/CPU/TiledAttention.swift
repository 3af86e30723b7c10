import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Exact attention of many queries (FlashAttention-2, arXiv 2307.08691, algorithm 1) on the transposed kernels: a query is a
/// SIMD lane, a key is a row (docs/architecture.md).
///
/// The rows of a task are (query, head of the group) pairs, query major, so that all query heads of a KV head share each tile
/// of keys and values. A task owns `panels` panels of 32 rows and walks over the tiles once. Tasks are independent, and tile
/// boundaries are multiples of the tile's height, so what a panel computes depends neither on its neighbours nor on threads.
struct TiledAttention {
  static let lanes = Int(TK_PANEL_LANES)
  static let tileKeys = 256

  let rows: AttendedRows
  let rotation: Rotation
  let rule: AttentionRule
  let q: TensorView
  let out: TensorView
  let lse: TensorView?
  let group: Int
  let c: Int
  /// Position by which query 0 turns.
  let firstPosition: Int
  /// Places [low[i], high[i]) that query i may see.
  let low: UnsafePointer<Int>
  let high: UnsafePointer<Int>
  let table: UnsafePointer<tk_table>
  let gather: tk_gather
  /// Products of bf16 pairs; otherwise f32.
  let pairs: Bool
  /// Every query sees every key: then a value that is not finite may stay in its tile, for it reaches all of them anyway.
  private let seesAll: Bool
  /// The queries' own bits are what the kernel packs.
  private let packsInPlace: Bool

  let panels: Int
  let blocks: Int
  private let kernels: tk_prefill
  private let queryFactor: Float
  private let logitScale: Float
  private let bias: UnsafePointer<Float>?

  init(
    rows: AttendedRows, rotation: Rotation, rule: AttentionRule, q: TensorView, out: TensorView, lse: TensorView?, group: Int,
    firstPosition: Int, low: UnsafePointer<Int>, high: UnsafePointer<Int>, table: UnsafePointer<tk_table>,
    f32Products: Bool, threads: Int
  ) {
    self.rows = rows
    self.rotation = rotation
    self.rule = rule
    self.q = q
    self.out = out
    self.lse = lse
    self.group = group
    c = q.shape[1]
    self.firstPosition = firstPosition
    self.low = low
    self.high = high
    self.table = table
    kernels = table.pointee.prefill
    gather = RowKernels(table, rows.dtype).gather
    // The scale goes onto the scores, where it costs nothing and rounds once. Softmax wants it positive: otherwise it moves to
    // the queries, in f32.
    let positive = rule.scale > 1e-20
    let log2e: Float = 1.442_695_04
    (queryFactor, logitScale) = positive ? (1, rule.scale * log2e) : (rule.scale, log2e)
    pairs = rows.dtype == .bf16 && kernels.scores_bf16 != nil && positive && rotation.half == 0 && !f32Products
    seesAll = (0..<q.shape[1]).allSatisfy { low[$0] <= 0 && high[$0] >= rows.count }
    packsInPlace = pairs && q.dtype == .bf16 && q.stride[2] == 1
    bias = rule.keyZeroBias != nil && rows.count > 0 && rows.token(at: 0) == 0 ? rule.keyZeroBias : nil

    let kvHeads = q.shape[0] / group
    let allPanels = (c * group + Self.lanes - 1) / Self.lanes
    // Sixteen panels amortise a tile's loading; fewer where that would leave threads idle.
    panels = min(16, max(1, allPanels * kvHeads / threads))
    blocks = (allPanels + panels - 1) / panels
  }

  var kvHeads: Int { q.shape[0] / group }
  var taskCount: Int { blocks * kvHeads }
  private var rowCount: Int { c * group }

  /// One KV head after the other, so that its keys and values stay in the last-level cache while all its blocks use them, and
  /// within a head the blocks in order of decreasing causal work, so that threads finish together.
  func run(_ task: Int, _ scratch: Scratch) {
    let kvHead = task / blocks
    let firstRow = (blocks - 1 - task % blocks) * panels * Self.lanes
    let count = min(panels, (rowCount - firstRow + Self.lanes - 1) / Self.lanes)
    let s = PanelScratch(self, scratch)
    s.head[0] = kvHead
    for p in 0..<count { open(p, kvHead, firstRow + p * Self.lanes, s) }
    var begin = Int32.max
    var end: Int32 = 0
    for p in 0..<count {
      begin = min(begin, s.begin[p])
      end = max(end, s.end[p])
    }
    var key = Int(begin) / Self.tileKeys * Self.tileKeys
    while key < Int(end) {
      let keys = min(Self.tileKeys, Int(end) - key)
      let tile = load(kvHead, key, keys, s)
      for p in 0..<count {
        // Keys before the panel's first legal one (but for alignment) and past its last are not even scored.
        let first = max(0, Int(s.begin[p]) - key) & ~7
        let last = min(keys, Int(s.end[p]) - key)
        if first < last { attend(p, tile, key, first, last - first, s) }
      }
      key += keys
    }
    for p in 0..<count { close(p, kvHead, firstRow + p * Self.lanes, s) }
  }

  // MARK: queries in, outputs out

  private func open(_ p: Int, _ kvHead: Int, _ firstRow: Int, _ s: PanelScratch) {
    let d = rows.headDim
    var begin = Int32.max
    var end: Int32 = 0
    for lane in 0..<Self.lanes {
      let row = firstRow + lane
      let at = p * Self.lanes + lane
      (s.lo[at], s.hi[at], s.m[at], s.l[at], s.bias[at]) = (0, 0, -.infinity, 0, 0)
      (s.sources[lane], s.sources16[lane]) = (nil, nil)
      if row >= rowCount { continue }
      let i = row / group
      let head = kvHead * group + row % group
      if packsInPlace {
        s.sources16[lane] = UnsafePointer(q.row(head, i).assumingMemoryBound(to: UInt16.self))
      } else {
        let query = s.queries + lane * d
        q.loadRow(head, i, to: query, table)
        if rotation.half > 0 {
          table.pointee.angles(Double(firstPosition + i), rotation.frequency, rotation.half, s.cos, s.sin)
          rotation.turn(query, 1, d, s.cos, s.sin, stride: 0, table)
        }
        s.sources[lane] = UnsafePointer(query)
      }
      if let bias { s.bias[at] = bias[head] }
      if low[i] >= high[i] { continue }
      (s.lo[at], s.hi[at]) = (Int32(truncatingIfNeeded: low[i]), Int32(truncatingIfNeeded: high[i]))
      begin = min(begin, s.lo[at])
      end = max(end, s.hi[at])
    }
    (s.begin[p], s.end[p]) = (begin, end)
    memset(s.oT + p * s.panel, 0, s.panel * 4)
    let qT = s.qT + p * s.panel
    if !pairs {
      kernels.pack_queries_f32(s.sources, d, queryFactor, qT)
      return
    }
    // Exact where the queries were bf16, one rounding otherwise.
    for lane in 0..<Self.lanes where s.sources[lane] != nil {
      table.pointee.f32_to_bf16(s.queries + lane * d, s.queries16 + lane * d, d)
      s.sources16[lane] = UnsafePointer(s.queries16 + lane * d)
    }
    kernels.pack_queries_bf16(s.sources16, d, UnsafeMutableRawPointer(qT).assumingMemoryBound(to: UInt16.self))
  }

  private func close(_ p: Int, _ kvHead: Int, _ firstRow: Int, _ s: PanelScratch) {
    let d = rows.headDim
    let direct = out.dtype == .f32 && out.stride[2] == 1
    for lane in 0..<Self.lanes {
      let row = firstRow + lane
      s.targets[lane] = nil
      if row >= rowCount { continue }
      s.targets[lane] =
        direct
        ? out.row(kvHead * group + row % group, row / group).assumingMemoryBound(to: Float.self) : s.queries + lane * d
    }
    let at = p * Self.lanes
    kernels.finish_panel(s.oT + p * s.panel, d, s.m + at, s.l + at, s.targets, s.lse)
    for lane in 0..<Self.lanes where firstRow + lane < rowCount {
      let i = (firstRow + lane) / group
      let head = kvHead * group + (firstRow + lane) % group
      let result = s.targets[lane]!
      if !direct { out.storeRow(head, i, from: result, table) }
      if let lse { lse.data.assumingMemoryBound(to: Float.self)[head * lse.stride[0] + i * lse.stride[1]] = s.lse[lane] }
    }
  }

  // MARK: tiles

  private struct Tile {
    var k: UnsafeRawPointer
    var kRow: Int
    var v: UnsafeRawPointer
    var vRow: Int
    /// Places in the tile whose values are not all finite; they are zeros at `v`. A lane that may not see a key gives it the
    /// probability 0, and 0 * NaN is NaN: such values are added for each lane that sees them, by `addNonFinite`.
    var nonFinite: Int = 0
  }

  /// Keys (turned to where they stand) and values of places [place, place + n): where they lie if they lie right, else in
  /// scratch.
  private func load(_ head: Int, _ place: Int, _ n: Int, _ s: PanelScratch) -> Tile {
    let d = rows.headDim
    let run = rows.block(at: place, before: place + n, most: n)
    var tile = Tile(k: s.tileK, kRow: d, v: s.tileV, vRow: d)
    if run.count == n, run.rows == nil, rotation.half == 0, pairs || rows.dtype == .f32 {
      let k = rows.keyRows(run, head: head)
      let v = rows.valueRows(run, head: head)
      (tile.k, tile.kRow) = (k.base!, k.stride)
      tile.nonFinite = seesAll ? 0 : markNonFinite(v.base!, v.stride, n, s)
      if pairs && tile.nonFinite == 0 {
        kernels.interleave_bf16(v.base!.assumingMemoryBound(to: UInt16.self), v.stride, n, d, s.pairs(s.tileV))
        return tile
      }
      if tile.nonFinite > 0 {
        gatherValues(place, n, head, s)
      } else {
        (tile.v, tile.vRow) = (v.base!, v.stride)
      }
    } else {
      gatherKeys(place, n, head, s)
      gatherValues(place, n, head, s)
      tile.nonFinite = seesAll ? 0 : markNonFinite(pairs ? s.gathered : s.tileV, d, n, s)
    }
    for i in 0..<tile.nonFinite {
      if pairs {
        (s.pairs(s.gathered) + Int(s.marks[i]) * d).update(repeating: 0, count: d)
      } else {
        (s.tileV + Int(s.marks[i]) * d).update(repeating: 0, count: d)
      }
    }
    if pairs { kernels.interleave_bf16(s.pairs(s.gathered), d, n, d, s.pairs(s.tileV)) }
    return tile
  }

  private func gatherKeys(_ place: Int, _ n: Int, _ head: Int, _ s: PanelScratch) {
    let d = rows.headDim
    var at = 0
    while at < n {
      let block = rows.block(at: place + at, before: place + n, most: rotation.half > 0 ? Rotation.span : n - at)
      var k = rows.keyRows(block, head: head)
      if pairs {
        copyRows(k, block.count, to: s.pairs(s.tileK) + at * d)
      } else {
        gather(&k, block.count, Int32(d), s.tileK + at * d)
        if rotation.half > 0 { turn(s.tileK + at * d, place + at, block, s) }
      }
      at += block.count
    }
  }

  private func gatherValues(_ place: Int, _ n: Int, _ head: Int, _ s: PanelScratch) {
    let d = rows.headDim
    var at = 0
    while at < n {
      let block = rows.block(at: place + at, before: place + n, most: n - at)
      var v = rows.valueRows(block, head: head)
      if pairs {
        copyRows(v, block.count, to: s.pairs(s.gathered) + at * d)
      } else {
        gather(&v, block.count, Int32(d), s.tileV + at * d)
      }
      at += block.count
    }
  }

  /// Writes to `marks` the rows (f32, or bf16 with `pairs`) that hold a NaN or an infinity; how many.
  private func markNonFinite(_ base: UnsafeRawPointer, _ stride: Int, _ n: Int, _ s: PanelScratch) -> Int {
    let d = rows.headDim
    var count = 0
    for t in 0..<n {
      // An exponent of all ones. Head dims are multiples of 8.
      var found = SIMD8<UInt32>.zero
      if pairs {
        let row = base + t * stride * 2
        for i in Swift.stride(from: 0, to: d, by: 8) {
          let bits = row.loadUnaligned(fromByteOffset: i * 2, as: SIMD8<UInt16>.self)
          found = pointwiseMax(found, (SIMD8<UInt32>(truncatingIfNeeded: bits) & 0x7f80) &<< 16)
        }
      } else {
        let row = base + t * stride * 4
        for i in Swift.stride(from: 0, to: d, by: 8) {
          found = pointwiseMax(found, row.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<UInt32>.self) & 0x7f80_0000)
        }
      }
      if found.max() >= 0x7f80_0000 {
        s.marks[count] = Int32(truncatingIfNeeded: t)
        count += 1
      }
    }
    return count
  }

  private func copyRows(_ from: tk_rows, _ n: Int, to: UnsafeMutablePointer<UInt16>) {
    let base = from.base!.assumingMemoryBound(to: UInt16.self)
    let d = rows.headDim
    for t in 0..<n { (to + t * d).update(from: base + (from.rows.map { Int($0[t]) } ?? t) * from.stride, count: d) }
  }

  /// Turns a block of keys by their place within the block, then all by where the block starts: rotations add up.
  private func turn(_ keys: UnsafeMutablePointer<Float>, _ place: Int, _ block: AttendedRows.Block, _ s: PanelScratch) {
    let d = rows.headDim
    let half = rotation.half
    if rule.positions == .natural && block.isSelected {
      let offset = (place - rows.sinks) * half
      rotation.turn(keys, block.count, d, rotation.selectedCos! + offset, rotation.selectedSin! + offset, stride: half, table)
      return
    }
    rotation.turn(keys, block.count, d, rotation.cos, rotation.sin, stride: half, table)
    let start = rule.positions == .natural ? rows.token(at: place) : place
    table.pointee.angles(Double(start), rotation.frequency, half, s.cos, s.sin)
    rotation.turn(keys, block.count, d, s.cos, s.sin, stride: 0, table)
  }

  private func attend(_ p: Int, _ tile: Tile, _ tileKey: Int, _ first: Int, _ keys: Int, _ s: PanelScratch) {
    let at = p * Self.lanes
    let oT = s.oT + p * s.panel
    let qT = s.qT + p * s.panel
    let d = rows.headDim
    let key = Int32(truncatingIfNeeded: tileKey + first)
    let bias = bias == nil ? nil : UnsafePointer(s.bias + at)
    if pairs {
      let k = tile.k.assumingMemoryBound(to: UInt16.self) + first * tile.kRow
      let v = tile.v.assumingMemoryBound(to: UInt16.self) + first * d
      kernels.scores_bf16!(k, tile.kRow, keys, s.pairs(qT), d, s.sT)
      let moved = kernels.softmax_bf16!(
        s.sT, keys, key, s.lo + at, s.hi + at, logitScale, rule.softcap, bias, s.m + at, s.l + at, s.rescale, s.pairs(s.sT))
      if moved != 0 { kernels.scale_panel(oT, d, s.rescale) }
      kernels.accumulate_bf16!(v, keys, s.pairs(s.sT), d, oT)
      addNonFinite(p, tile, tileKey, first, keys, s)
      return
    }
    let k = tile.k.assumingMemoryBound(to: Float.self) + first * tile.kRow
    let v = tile.v.assumingMemoryBound(to: Float.self) + first * tile.vRow
    kernels.scores_f32(k, tile.kRow, keys, qT, d, s.sT)
    let moved = kernels.softmax_f32(
      s.sT, keys, key, s.lo + at, s.hi + at, logitScale, rule.softcap, bias, s.m + at, s.l + at, s.rescale)
    if moved != 0 { kernels.scale_panel(oT, d, s.rescale) }
    kernels.accumulate_f32(v, tile.vRow, keys, s.sT, d, oT)
    addNonFinite(p, tile, tileKey, first, keys, s)
  }

  /// Adds the values that the tile leaves out, for the lanes that see them.
  private func addNonFinite(_ p: Int, _ tile: Tile, _ tileKey: Int, _ first: Int, _ keys: Int, _ s: PanelScratch) {
    let d = rows.headDim
    let oT = s.oT + p * s.panel
    for i in 0..<tile.nonFinite {
      let t = Int(s.marks[i]) - first
      if t < 0 || t >= keys { continue }
      let place = tileKey + first + t
      var row = rows.valueRows(rows.block(at: place, before: place + 1, most: 1), head: s.head[0])
      gather(&row, 1, Int32(d), s.queries)
      for lane in 0..<Self.lanes {
        let at = p * Self.lanes + lane
        if place < Int(s.lo[at]) || place >= Int(s.hi[at]) { continue }
        let weight =
          pairs
          ? Float(bitPattern: UInt32(s.pairs(s.sT)[(t / 2 * Self.lanes + lane) * 2 + t % 2]) << 16)
          : s.sT[t * Self.lanes + lane]
        for dim in 0..<d { oT[dim * Self.lanes + lane] += weight * s.queries[dim] }
      }
    }
  }
}
