import CShims
import TamisCore
import TamisDevice

/// How the last queries of a prompt attend, summed per key and per distance: what the vertical-slash methods take for the habits
/// of a head (MInference, arXiv 2407.02490, section 3.2).
///
///     column[t]   = sum over rows r of P[r, t]
///     slash[dist] = sum over rows r of P[r, r - dist],   P = softmax(cap(scale q k^T)) over legal keys
///
/// No [rows, keys] table: one pass over the keys finds each row's normaliser, a second the sums.
final class LastQueries: @unchecked Sendable {
  private static let lanes = VectorPanels.lanes
  /// Keys whose scores are held at once.
  private static let run = 256

  let keys: Int
  /// Distances 0 ..< span.
  let span: Int
  private let columns, slashes: FloatTable

  /// - Parameters:
  ///   - rows: queries, ascending.
  ///   - heads: those wanted; sums of others are not set.
  init(_ input: SparseInput, rows: [Int], heads: [Int]? = nil, on backend: any Backend) throws(TamisError) {
    keys = input.keys
    span = max(1, input.mask.queryOffset + (rows.last ?? 0) + 1)
    columns = try FloatTable(input.heads * keys)
    slashes = try FloatTable(input.heads * (span + 2 * Self.lanes))
    let wanted = heads ?? Array(0..<input.heads)
    backend.parallel(wanted.count) { task in
      sum(input, head: wanted[task], rows)
    }
  }

  /// [keys]
  func columns(_ head: Int) -> UnsafeMutablePointer<Float> { columns.start + head * keys }
  /// [span]; panels of rows may reach over its ends.
  func slashes(_ head: Int) -> UnsafeMutablePointer<Float> {
    slashes.start + head * (span + 2 * Self.lanes) + Self.lanes
  }

  private func sum(_ input: SparseInput, head: Int, _ rows: [Int]) {
    columns(head).update(repeating: 0, count: keys)
    (slashes(head) - Self.lanes).update(repeating: 0, count: span + 2 * Self.lanes)
    let d = input.headDim
    let panels = stride(from: 0, to: rows.count, by: Self.lanes).map {
      LastPanel(input, head: head, Array(rows[$0..<min($0 + Self.lanes, rows.count)]))
    }
    let low = panels.map(\.legal.lowerBound).min() ?? 0
    let high = panels.map(\.legal.upperBound).max() ?? 0
    if low >= high { return }
    let wide = UnsafeMutablePointer<Float>.allocate(capacity: Self.run * (d + Self.lanes))
    defer { wide.deallocate() }
    let scores = wide + Self.run * d
    let k = input.k
    for isLast in [false, true] {
      var key = low
      while key < high {
        let n = min(Self.run, high - key)
        var tile = UnsafePointer(wide)
        var tileStride = d
        if k.dtype == .f32 && k.stride[2] == 1 {
          tile = UnsafePointer(k.row(head / input.group, key).assumingMemoryBound(to: Float.self))
          tileStride = k.stride[1]
        } else {
          k.loadRows(head / input.group, key, count: n, to: wide, Kernels.active)
        }
        for panel in panels {
          panel.scores(tile, tileStride, key, n, into: scores)
          if isLast { panel.add(scores, key, n, columns: columns(head), slashes: slashes(head)) }
        }
        key += n
      }
      for panel in panels { panel.close() }
    }
  }
}

/// Up to 32 rows of one head.
private final class LastPanel {
  let legal: Range<Int>
  private let input: SparseInput
  private let queries: UnsafeMutablePointer<Float>
  private let low, high: UnsafeMutablePointer<Int32>
  private let m, l, rescale: UnsafeMutablePointer<Float>
  private let tokens: [Int]
  private let areNeighbours: Bool
  private var inverse = SIMD32<Float>.zero
  private let memory: UnsafeMutableRawPointer

  init(_ input: SparseInput, head: Int, _ rows: [Int]) {
    self.input = input
    let (lanes, d) = (VectorPanels.lanes, input.headDim)
    memory = .allocate(byteCount: (lanes * d + 5 * lanes) * 4, alignment: 64)
    queries = memory.bindMemory(to: Float.self, capacity: lanes * d + 5 * lanes)
    m = queries + lanes * d
    l = m + lanes
    rescale = l + lanes
    low = UnsafeMutableRawPointer(rescale + lanes).assumingMemoryBound(to: Int32.self)
    high = low + lanes
    tokens = rows.map { input.mask.queryOffset + $0 }
    areNeighbours = zip(tokens, tokens.dropFirst()).allSatisfy { $1 == $0 + 1 }
    var ends = (Int.max, 0)
    for lane in 0..<lanes {
      (m[lane], l[lane], low[lane], high[lane]) = (-.infinity, 0, 0, 0)
      if lane >= rows.count { continue }
      let legal = input.legal(rows[lane])
      if legal.isEmpty { continue }
      low[lane] = Int32(truncatingIfNeeded: legal.lowerBound)
      high[lane] = Int32(truncatingIfNeeded: legal.upperBound)
      ends = (min(ends.0, legal.lowerBound), max(ends.1, legal.upperBound))
    }
    legal = ends.0 < ends.1 ? ends.0..<ends.1 : 0..<0
    withUnsafeTemporaryAllocation(of: Float.self, capacity: lanes * d) { wide in
      VectorPanels.pack(queries, d) { lane in
        if lane >= rows.count { return nil }
        input.q.loadRow(head, rows[lane], to: wide.baseAddress! + lane * d, Kernels.active)
        return UnsafePointer(wide.baseAddress! + lane * d)
      }
    }
  }

  deinit { memory.deallocate() }

  /// to[key][lane] = 2^(logit - m); m and l go on.
  func scores(_ k: UnsafePointer<Float>, _ stride: Int, _ key: Int, _ n: Int, into to: UnsafeMutablePointer<Float>) {
    let table = Kernels.active
    let log2e: Float = 1.442_695_04
    table.pointee.prefill.scores_f32(k, stride, n, queries, input.headDim, to)
    table.pointee.clean_logits(to, n * VectorPanels.lanes)
    _ = table.pointee.prefill.softmax_f32(
      to, n, Int32(truncatingIfNeeded: key), low, high, input.rule.scale * log2e, input.rule.softcap, nil, m, l, rescale)
  }

  /// After the first pass m and l are those of the whole row.
  func close() {
    let sums = UnsafeRawPointer(l).load(as: SIMD32<Float>.self)
    inverse = (1 / sums).replacing(with: 0, where: .!(sums .> 0))
  }

  func add(
    _ p: UnsafePointer<Float>, _ key: Int, _ n: Int, columns: UnsafeMutablePointer<Float>, slashes: UnsafeMutablePointer<Float>
  ) {
    for i in max(0, legal.lowerBound - key)..<max(0, legal.lowerBound - key, min(n, legal.upperBound - key)) {
      let raw = UnsafeRawPointer(p + i * VectorPanels.lanes).load(as: SIMD32<Float>.self) * inverse
      // What is not a number counts as nothing.
      let share = raw.replacing(with: 0, where: .!(raw .> 0))
      columns[key + i] += sum(share)
      if areNeighbours {
        let at = UnsafeMutableRawPointer(slashes + (tokens[0] - key - i))
        at.storeBytes(of: at.loadUnaligned(as: SIMD32<Float>.self) + share, as: SIMD32<Float>.self)
      } else {
        for lane in 0..<tokens.count where share[lane] > 0 { slashes[tokens[lane] - key - i] += share[lane] }
      }
    }
  }

  private func sum(_ x: SIMD32<Float>) -> Float {
    let a = x.lowHalf + x.highHalf
    let b = a.lowHalf + a.highHalf
    let c = b.lowHalf + b.highHalf
    return (c.x + c.y) + (c.z + c.w)
  }
}
