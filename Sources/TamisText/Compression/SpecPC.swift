import CShims
public import TamisCore
public import TamisDevice

/// SpecPC (arXiv 2506.08373): prompt tokens scored by the attention of a small draft model's last queries, at prefill and in
/// lookahead steps. Rows are folded in layer by layer: memory is O(tokens).
///
/// Score: maximum (or sum) over heads, queries, layers and steps. Spend: `SpecPCBudget`. Not thread-safe.
public final class SpecPC {
  public enum Reduction: Int32, Sendable {
    case max = 0
    /// What the paper calls mean: the same order.
    case sum = 1
  }

  public struct Options: Sendable {
    /// The last queries of the prompt, w.
    public var window = 64
    /// Draft layers below are not used.
    public var startingLayer = 8
    public var reduction = Reduction.max
    /// Query i of w counts i / (w - 1).
    public var weightedQuery = true
    public var budget = SpecPCBudget()

    public init() {}
  }

  public let options: Options
  public let tokens: Int
  /// One per token from the first rows on: their own memory vouches for the number of tokens.
  private var totals: [Double] = []
  private var hasRows: Bool { !totals.isEmpty }

  /// - Throws: `invalidArgument` unless 1 <= window <= tokens.
  public init(_ options: Options, tokens: Int) throws(TamisError) {
    try require(
      options.window >= 1 && options.window <= tokens,
      "options->window is \(options.window); expected 1 to the \(tokens) tokens of the prompt")
    try require(tokens <= Int(Int32.max), "n_tokens is \(tokens); expected at most \(Int32.max)")
    try options.budget.check()
    self.options = options
    self.tokens = tokens
  }

  /// Of no rows at all.
  private var start: Double { options.reduction == .max ? -.infinity : 0 }

  private func begin() {
    if totals.isEmpty { totals = [Double](repeating: start, count: tokens) }
  }

  /// Softmax rows [heads, w, n] of one layer, in any float dtype, contiguous rows: w = window over n = tokens keys, or the one
  /// query of a lookahead step over n >= tokens, of which those beyond the prompt are left out. NaN counts as -inf.
  public func add(layer: Int, rows: TensorView) throws(TamisError) {
    let queries = rows.shape[1]
    let keys = rows.shape[2]
    let isStep = queries == 1 && keys >= tokens
    try require(
      isStep || queries == options.window && keys == tokens,
      "rows is [\(rows.shape[0]), \(queries), \(keys)]; expected [heads, \(options.window), \(tokens)], or one query over at "
        + "least \(tokens) keys")
    if layer < options.startingLayer { return }
    begin()
    let table = Kernels.active
    let row = UnsafeMutablePointer<Float>.allocate(capacity: tokens)
    defer { row.deallocate() }
    for h in 0..<rows.shape[0] {
      for i in 0..<queries {
        TensorRows.load(rows.row(h, i), rows.dtype, stride: 1, scale: 1, count: tokens, to: row, table)
        totals.withUnsafeMutableBufferPointer { fold(row, weight(i, of: queries), into: $0) }
      }
    }
  }

  /// The rows of one layer from its queries [qHeads, w, d] and keys [kvHeads, tokens, d], both rotated:
  /// softmax(scale q k^T + causal). scale 0: 1 / sqrt(d). d is a multiple of 8 up to 256.
  public func add(layer: Int, q: TensorView, k: TensorView, scale: Float, context: Context) throws(TamisError) {
    let d = q.shape[2]
    try require(
      q.shape[1] == options.window, "q->shape[1] is \(q.shape[1]); expected the window, \(options.window)")
    try require(k.shape[1] == tokens, "k->shape[1] is \(k.shape[1]); expected the \(tokens) tokens of the prompt")
    try require(k.shape[2] == d, "k->shape[2] is \(k.shape[2]); expected \(d), as q")
    try require(
      q.shape[0] % k.shape[0] == 0, "q->shape[0] is \(q.shape[0]); expected a multiple of the \(k.shape[0]) heads of k")
    guard d % 8 == 0 && d <= 256 else {
      throw TamisError(.unsupported, "q->shape[2] is \(d); expected a multiple of 8 up to 256")
    }
    if layer < options.startingLayer { return }
    let heads = q.shape[0]
    let log2Scale = (scale == 0 ? 1 / Float(d).squareRoot() : scale) * 1.442_695_04
    // A head's scores by itself, so that the order of the heads, and the sum's bits, do not hang on the threads.
    let perHead = UnsafeMutableBufferPointer<Double>.allocate(capacity: heads * tokens)
    defer { perHead.deallocate() }
    perHead.initialize(repeating: start)
    try context.withLock { () throws(TamisError) in
      context.backend.parallel(heads) { h in
        let totals = UnsafeMutableBufferPointer(rebasing: perHead[h * self.tokens..<(h + 1) * self.tokens])
        self.attend(head: h, q, k, log2Scale, into: totals)
      }
    }
    begin()
    for h in 0..<heads {
      for j in 0..<tokens {
        let score = perHead[h * tokens + j]
        totals[j] = options.reduction == .max ? max(totals[j], score) : totals[j] + score
      }
    }
  }

  private func attend(
    head h: Int, _ q: TensorView, _ k: TensorView, _ log2Scale: Float, into totals: UnsafeMutableBufferPointer<Double>
  ) {
    let table = Kernels.active
    let d = q.shape[2]
    let w = options.window
    let together = 8
    let room = UnsafeMutablePointer<Float>.allocate(capacity: tokens * d + together * (d + tokens))
    defer { room.deallocate() }
    let keys = room
    let queries = keys + tokens * d
    let z = queries + together * d
    for t in 0..<tokens { k.loadRow(h / (q.shape[0] / k.shape[0]), t, to: keys + t * d, table) }
    var rows = tk_rows(base: keys, rows: nil, stride: d, scale: nil, scale_stride: 0, ahead: nil, ahead_count: 0)
    for first in stride(from: 0, to: w, by: together) {
      let count = min(together, w - first)
      for i in 0..<count { q.loadRow(h, first + i, to: queries + i * d, table) }
      let block = tk_queries(
        f32: queries, bf16: nil, i8_high: nil, i8_low: nil, i8_panels: nil, i8_scale: nil, i8_high_sum: nil, i8_low_sum: nil,
        count: Int32(count), dim: Int32(d))
      withUnsafePointer(to: block) { table.pointee.dot_f32(&rows, tokens, $0, z, tokens) }
      for i in 0..<count {
        let row = z + i * tokens
        let seen = tokens - w + first + i + 1
        var m = -Float.infinity
        var l: Float = 0
        _ = table.pointee.softmax_block(row, seen, log2Scale, &m, &l)
        table.pointee.scale_by(row, seen, 1 / l)
        for j in seen..<tokens { row[j] = 0 }
        fold(row, weight(first + i, of: w), into: totals)
      }
    }
  }

  private func weight(_ i: Int, of queries: Int) -> Double {
    options.weightedQuery && queries > 1 ? Double(i) / Double(queries - 1) : 1
  }

  private func fold(_ row: UnsafePointer<Float>, _ weight: Double, into totals: UnsafeMutableBufferPointer<Double>) {
    if options.reduction == .max {
      for j in 0..<totals.count {
        let score = Double(row[j]) * weight
        totals[j] = score > totals[j] ? score : totals[j]
      }
    } else {
      for j in 0..<totals.count { totals[j] += Double(row[j]) * weight }
    }
  }

  /// Scores so far, before smoothing.
  /// - Throws: `invalidArgument` when no layer was added.
  public func scores() throws(TamisError) -> [Float] {
    try require(hasRows, "specpc holds no rows; expected a layer of at least the starting layer, \(options.startingLayer)")
    return totals.map { Float($0) }
  }

  /// The tokens that are kept, ascending.
  public func select() throws(TamisError) -> [Int32] { options.budget.select(try scores(), window: options.window) }
}
