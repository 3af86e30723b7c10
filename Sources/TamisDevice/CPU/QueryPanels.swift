import CShims
import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// The part that dense and sparse attention of many queries share (FlashAttention-2, arXiv 2307.08691, algorithm 1, on the
/// transposed kernels): queries are packed into panels of 32 lanes, a panel takes in the keys of one step after another, and
/// its outputs are written. Who drives it says which keys a step holds, and which of them a query may see: a range of places.
///
/// Steps begin at multiples of `stepKeys`, and no lane's sums depend on another lane: what a query gets depends neither on its
/// neighbours nor on threads.
struct QueryPanels {
  static let lanes = Int(TK_PANEL_LANES)
  /// Places of one step of the online softmax.
  static let stepKeys = 256
  /// Panels of a task at most: enough to amortise the loading of a step's keys.
  static let most = 16

  let q, out: TensorView
  let lse: TensorView?
  let headDim: Int
  let rule: AttentionRule
  let rotation: Rotation
  /// Position by which query 0 turns.
  let firstPosition: Int
  let table: UnsafePointer<tk_table>
  let gather: tk_gather
  /// Products of bf16 pairs; otherwise f32.
  let pairs: Bool
  /// The queries' own bits are what the kernel packs.
  private let packsInPlace: Bool
  private let kernels: tk_prefill
  private let queryFactor: Float
  private let logitScale: Float

  /// - Parameter dtype: of keys and values.
  init(
    q: TensorView, out: TensorView, lse: TensorView?, dtype: DType, rule: AttentionRule, rotation: Rotation, firstPosition: Int,
    table: UnsafePointer<tk_table>, f32Products: Bool
  ) {
    self.q = q
    self.out = out
    self.lse = lse
    headDim = q.shape[2]
    self.rule = rule
    self.rotation = rotation
    self.firstPosition = firstPosition
    self.table = table
    kernels = table.pointee.prefill
    gather = RowKernels(table, dtype).gather
    // The scale goes onto the scores, where it costs nothing and rounds once. Softmax wants it positive: otherwise it moves to
    // the queries, in f32.
    let positive = rule.scale > 1e-20
    let log2e: Float = 1.442_695_04
    (queryFactor, logitScale) = positive ? (1, rule.scale * log2e) : (rule.scale, log2e)
    pairs = dtype == .bf16 && kernels.scores_bf16 != nil && positive && rotation.half == 0 && !f32Products
    packsInPlace = pairs && q.dtype == .bf16 && q.stride[2] == 1
  }

  /// The rows of a task: queries [firstQuery, ..) of `heads` heads from `firstHead` on, query major.
  struct Rows {
    var firstHead, heads, firstQuery, count: Int

    func head(_ row: Int) -> Int { firstHead + row % heads }
    func query(_ row: Int) -> Int { firstQuery + row / heads }
  }

  // MARK: queries in

  /// Packs rows [firstRow, firstRow + 32) as panel `p`. `seen`: the places that a query may see.
  func open(_ p: Int, _ rows: Rows, _ firstRow: Int, _ s: PanelScratch, seen: (_ query: Int) -> (low: Int, high: Int)) {
    let d = headDim
    var begin = Int32.max
    var end: Int32 = 0
    for lane in 0..<Self.lanes {
      let row = firstRow + lane
      let at = p * Self.lanes + lane
      (s.lo[at], s.hi[at], s.m[at], s.l[at], s.bias[at]) = (0, 0, -.infinity, 0, 0)
      (s.sources[lane], s.sources16[lane]) = (nil, nil)
      if row >= rows.count { continue }
      let i = rows.query(row)
      let head = rows.head(row)
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
      if let bias = rule.keyZeroBias { s.bias[at] = bias[head] }
      let (low, high) = seen(i)
      if low >= high { continue }
      (s.lo[at], s.hi[at]) = (Int32(truncatingIfNeeded: low), Int32(truncatingIfNeeded: high))
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

  /// The places that any of the first `panels` panels sees; empty when low >= high.
  func span(_ panels: Int, _ s: PanelScratch) -> (low: Int, high: Int) {
    var low = Int32.max
    var high: Int32 = 0
    for p in 0..<panels {
      low = min(low, s.begin[p])
      high = max(high, s.end[p])
    }
    return (Int(low), Int(high))
  }

  // MARK: outputs out

  func close(_ p: Int, _ rows: Rows, _ firstRow: Int, _ s: PanelScratch) {
    let d = headDim
    let direct = out.dtype == .f32 && out.stride[2] == 1
    for lane in 0..<Self.lanes {
      let row = firstRow + lane
      s.targets[lane] = nil
      if row >= rows.count { continue }
      s.targets[lane] =
        direct ? out.row(rows.head(row), rows.query(row)).assumingMemoryBound(to: Float.self) : s.queries + lane * d
    }
    let at = p * Self.lanes
    kernels.finish_panel(s.oT + p * s.panel, d, s.m + at, s.l + at, s.targets, s.lse)
    for lane in 0..<Self.lanes where firstRow + lane < rows.count {
      let i = rows.query(firstRow + lane)
      let head = rows.head(firstRow + lane)
      if !direct { out.storeRow(head, i, from: s.targets[lane]!, table) }
      if let lse { lse.data.assumingMemoryBound(to: Float.self)[head * lse.stride[0] + i * lse.stride[1]] = s.lse[lane] }
    }
  }

  // MARK: a step

  /// Panel `p` takes in the keys of a step. `biased`: place 0 of the list is token 0, which has a bias.
  /// `pvThreshold`: see `Backend.attend`; 0 is off.
  func attend(_ p: Int, _ step: KeyStep, biased: Bool, pvThreshold: Float = 0, _ s: PanelScratch) {
    // Keys before the panel's first legal one (but for alignment) and past its last are not even scored.
    let first = max(0, Int(s.begin[p]) - step.place) & ~7
    let last = min(step.keys, Int(s.end[p]) - step.place)
    if first >= last { return }
    let at = p * Self.lanes
    let oT = s.oT + p * s.panel
    let qT = s.qT + p * s.panel
    let d = headDim
    for i in 0..<step.segments {
      guard let (segment, from, n) = s.segments[i].within(first, last) else { continue }
      let sT = s.sT + (from - first) * Self.lanes
      if pairs {
        kernels.scores_bf16!(segment.k.assumingMemoryBound(to: UInt16.self), segment.kRow, n, s.pairs(qT), d, sT)
      } else {
        kernels.scores_f32(segment.k.assumingMemoryBound(to: Float.self), segment.kRow, n, qT, d, sT)
      }
    }
    let key = Int32(truncatingIfNeeded: step.place + first)
    let bias = biased ? UnsafePointer(s.bias + at) : nil
    let moved =
      pairs
      ? kernels.softmax_bf16!(
        s.sT, last - first, key, s.lo + at, s.hi + at, logitScale, rule.softcap, bias, s.m + at, s.l + at, s.rescale,
        s.pairs(s.sT))
      : kernels.softmax_f32(
        s.sT, last - first, key, s.lo + at, s.hi + at, logitScale, rule.softcap, bias, s.m + at, s.l + at, s.rescale)
    if moved != 0 { kernels.scale_panel(oT, d, s.rescale) }
    for i in 0..<step.segments {
      guard let (segment, from, n) = s.segments[i].within(first, last) else { continue }
      if pvThreshold > 0 {
        accumulateHeavy(segment, from - first, n, pvThreshold, oT, s)
      } else {
        accumulate(segment, from - first, n, oT, s)
      }
    }
    addNonFinite(p, step, first, last, s)
  }

  /// O^T += V^T P^T of a segment whose probabilities begin at row `row`.
  private func accumulate(_ segment: KeySegment, _ row: Int, _ n: Int, _ oT: UnsafeMutablePointer<Float>, _ s: PanelScratch) {
    let p = s.sT + row * Self.lanes
    if pairs {
      // A row of pairs is two keys in the room of one row of scores.
      kernels.accumulate_bf16!(
        segment.v.assumingMemoryBound(to: UInt16.self), n, s.pairs(s.sT) + row * Self.lanes, headDim, oT)
    } else {
      kernels.accumulate_f32(segment.v.assumingMemoryBound(to: Float.self), segment.vRow, n, p, headDim, oT)
    }
  }

  /// The same without the runs of keys that weigh next to nothing for every query of the panel (SpargeAttn, arXiv 2502.18137,
  /// section 3.5). Their probabilities stay in the sum.
  private func accumulateHeavy(
    _ segment: KeySegment, _ row: Int, _ n: Int, _ threshold: Float, _ oT: UnsafeMutablePointer<Float>, _ s: PanelScratch
  ) {
    let least = Float(exp(-Double(threshold)))
    var done = 0
    while done < n {
      let count = min(Self.heavyRun, n - done)
      if isHeavy(row + done, count, least, s) {
        accumulate(segment.dropping(done), row + done, count, oT, s)
      }
      done += count
    }
  }

  /// Keys that are skipped or taken together.
  private static let heavyRun = 64

  /// Whether some probability of these rows is at least `least`, or not a number.
  private func isHeavy(_ row: Int, _ n: Int, _ least: Float, _ s: PanelScratch) -> Bool {
    let p = UnsafeRawPointer(s.sT + row * Self.lanes)
    var heavy = SIMDMask<SIMD8<Int32>>(repeating: false)
    let bound = SIMD8<Float>(repeating: least)
    if pairs {
      let p = UnsafeRawPointer(s.pairs(s.sT) + row * Self.lanes)
      for at in stride(from: 0, to: (n + 1) / 2 * Self.lanes * 4, by: 32) {
        let both = p.load(fromByteOffset: at, as: SIMD8<UInt32>.self)
        let even = unsafeBitCast(both &<< 16, to: SIMD8<Float>.self)
        let odd = unsafeBitCast(both & 0xffff_0000, to: SIMD8<Float>.self)
        heavy = heavy .| .!((even .< bound) .& (odd .< bound))
      }
    } else {
      for at in stride(from: 0, to: n * Self.lanes * 4, by: 32) {
        heavy = heavy .| .!(p.load(fromByteOffset: at, as: SIMD8<Float>.self) .< bound)
      }
    }
    return any(heavy)
  }

  // MARK: values that are not finite

  /// Whether a row of f32, or of bf16 with `pairs`, holds a NaN or an infinity: an exponent of all ones.
  func isNonFinite(_ row: UnsafeRawPointer) -> Bool {
    // Head dims are multiples of 8.
    var found = SIMD8<UInt32>.zero
    if pairs {
      for i in stride(from: 0, to: headDim, by: 8) {
        let bits = row.loadUnaligned(fromByteOffset: i * 2, as: SIMD8<UInt16>.self)
        found = pointwiseMax(found, (SIMD8<UInt32>(truncatingIfNeeded: bits) & 0x7f80) &<< 16)
      }
    } else {
      for i in stride(from: 0, to: headDim, by: 8) {
        found = pointwiseMax(found, row.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<UInt32>.self) & 0x7f80_0000)
      }
    }
    return found.max() >= 0x7f80_0000
  }

  /// Adds the values that the step leaves out, for the lanes that see them.
  private func addNonFinite(_ p: Int, _ step: KeyStep, _ first: Int, _ last: Int, _ s: PanelScratch) {
    let d = headDim
    let oT = s.oT + p * s.panel
    for i in 0..<step.nonFinite {
      let value = s.nonFinite[i]
      if value.at < first || value.at >= last { continue }
      let t = value.at - first
      let place = step.place + value.at
      var row = value.row
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

/// Keys and values of places [place, place + keys), in segments that the kernels read in order: the first `segments` of
/// `PanelScratch.segments`.
struct KeyStep {
  var place: Int
  var keys: Int
  var segments = 0
  /// How many of `PanelScratch.nonFinite` are the step's.
  var nonFinite = 0
}

/// Neighbouring places of a step whose rows lie at equal distances. With bf16 pairs `v` is [ceil(count / 2)][headDim][2], a
/// row of `headDim` elements per key on average, and only the last segment of a step has an odd count.
struct KeySegment {
  var start, count: Int
  var k: UnsafeRawPointer
  /// Elements from one row to the next.
  var kRow: Int
  var v: UnsafeRawPointer
  var vRow: Int
  /// Bytes of an element: 4, or 2 with pairs.
  var size: Int

  /// The part between places `first` and `last` of the step: itself, where it begins, how many places.
  @inline(__always) func within(_ first: Int, _ last: Int) -> (KeySegment, from: Int, count: Int)? {
    let from = max(first, start)
    let n = min(last, start + count) - from
    if n <= 0 { return nil }
    var part = self
    part.k = k + (from - start) * kRow * size
    part.v = v + (from - start) * vRow * size
    return (part, from, n)
  }

  /// The values from the n-th on.
  func dropping(_ n: Int) -> KeySegment {
    var rest = self
    rest.v = v + n * vRow * size
    return rest
  }
}

/// A row of values that a step leaves out, zeros standing in for it. A lane that may not see a key gives it the probability
/// 0, and 0 * NaN is NaN: such a row is added for each lane that sees it.
struct NonFiniteValue {
  /// Place in the step.
  var at: Int
  var row: tk_rows
}
