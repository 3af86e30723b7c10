import CShims
import TamisCore
import TamisDevice

/// How the last queries of a prompt attend, summed per key and per distance: what the vertical-slash methods take for the
/// habits of a head (MInference, arXiv 2407.02490, section 3.2).
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
    let memory = UnsafeMutableRawPointer.allocate(byteCount: Self.run * (d + Self.lanes) * 4, alignment: 64)
    defer { memory.deallocate() }
    let wide = memory.bindMemory(to: Float.self, capacity: Self.run * (d + Self.lanes))
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
  private let m, l, rescale, inverse: UnsafeMutablePointer<Float>
  /// Positions of the rows.
  private let tokens: UnsafeMutablePointer<Int>
  private let count, firstToken: Int
  private let areNeighbours: Bool
  private var isWhole = true
  private let memory: UnsafeMutableRawPointer

  init(_ input: SparseInput, head: Int, _ rows: [Int]) {
    self.input = input
    let (lanes, d) = (VectorPanels.lanes, input.headDim)
    memory = .allocate(byteCount: (lanes * d + 6 * lanes) * 4, alignment: 64)
    queries = memory.bindMemory(to: Float.self, capacity: lanes * d + 6 * lanes)
    m = queries + lanes * d
    l = m + lanes
    rescale = l + lanes
    inverse = rescale + lanes
    low = UnsafeMutableRawPointer(inverse + lanes).assumingMemoryBound(to: Int32.self)
    high = low + lanes
    count = rows.count
    tokens = .allocate(capacity: lanes)
    tokens.initialize(repeating: 0, count: lanes)
    for (lane, row) in rows.enumerated() { tokens[lane] = input.mask.queryOffset + row }
    firstToken = tokens[0]
    areNeighbours = zip(rows, rows.dropFirst()).allSatisfy { $1 == $0 + 1 }
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

  deinit {
    memory.deallocate()
    tokens.deallocate()
  }

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
    for lane in 0..<VectorPanels.lanes {
      inverse[lane] = l[lane] > 0 && l[lane] < .infinity ? 1 / l[lane] : 0
      // What is not a number is then in every probability of the lane, or in none.
      if !(l[lane] < .infinity) { isWhole = false }
    }
  }

  /// Adds the probabilities `p` of keys [key, key + n); they are scaled in place.
  func add(
    _ p: UnsafeMutablePointer<Float>, _ key: Int, _ n: Int, columns: UnsafeMutablePointer<Float>,
    slashes: UnsafeMutablePointer<Float>
  ) {
    let lanes = VectorPanels.lanes
    let table = Kernels.active
    let from = max(0, legal.lowerBound - key)
    let to = max(from, min(n, legal.upperBound - key))
    if from == to { return }
    table.pointee.prefill.scale_panel(p + from * lanes, to - from, inverse)
    if !isWhole { for i in from * lanes..<to * lanes where !(p[i] > 0) { p[i] = 0 } }
    for i in from..<to {
      let row = p + i * lanes
      columns[key + i] += sum(row)
      if areNeighbours {
        table.pointee.add_scaled(slashes + (firstToken - key - i), row, lanes, 1)
      } else {
        // A later key than a row's own lies far before the table when the rows are apart, however little it would add.
        for lane in 0..<count where tokens[lane] >= key + i { slashes[tokens[lane] - key - i] += row[lane] }
      }
    }
  }

  /// Of 32 numbers.
  private func sum(_ row: UnsafePointer<Float>) -> Float {
    let x = UnsafeRawPointer(row)
    let a = x.loadUnaligned(as: SIMD8<Float>.self) + x.loadUnaligned(fromByteOffset: 32, as: SIMD8<Float>.self)
    let b =
      x.loadUnaligned(fromByteOffset: 64, as: SIMD8<Float>.self) + x.loadUnaligned(fromByteOffset: 96, as: SIMD8<Float>.self)
    let c = a + b
    let d = c.lowHalf + c.highHalf
    return (d.x + d.y) + (d.z + d.w)
  }
}
