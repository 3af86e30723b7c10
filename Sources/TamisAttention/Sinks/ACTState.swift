public import TamisCore
public import TamisDevice

/// Column sums and row counts of one layer's heads, carried from prefill to decode steps, so that a decode row is a row like
/// any other. Grows with the keys.
public final class ACTState {
  public let qHeads: Int
  let context: Context
  /// Rows seen so far, which stood at positions 0 ..< rows.
  private(set) var rows = 0
  /// Heads that are calibrated; nil until the first call.
  private(set) var calibrated: [Bool]?
  /// [columns] for each head; empty where it is not calibrated.
  private var sums: [[Double]]
  /// How many rows have seen each column.
  private var counts: [Int] = []
  private var sinks: [[Int32]]
  /// Sinks with the rows of the call that is under way.
  private(set) var next: [[Int32]]
  /// Memory of decode steps.
  let scratch = Scratch()

  /// - Throws: `invalidArgument`.
  public init(context: Context, qHeads: Int) throws(TamisError) {
    try require(
      (1...KVCacheOptions.most).contains(qHeads), "q_heads is \(qHeads); expected 1 to \(KVCacheOptions.most)")
    self.context = context
    self.qHeads = qHeads
    sums = .init(repeating: [], count: qHeads)
    sinks = .init(repeating: [], count: qHeads)
    next = sinks
  }

  /// Forgets everything: a new sequence.
  public func reset() throws(TamisError) {
    try context.withLock { () throws(TamisError) in
      rows = 0
      calibrated = nil
      counts.removeAll(keepingCapacity: true)
      for h in 0..<qHeads {
        sums[h].removeAll(keepingCapacity: true)
        sinks[h].removeAll(keepingCapacity: true)
      }
    }
  }

  /// The sinks of a head after the last call, ascending.
  /// - Throws: `invalidArgument`.
  public func sinks(head: Int) throws(TamisError) -> [Int32] {
    try require((0..<qHeads).contains(head), "head is \(head); expected 0 to \(qHeads - 1)")
    return try context.withLock { sinks[head] }
  }

  /// Queries continue where the rows seen so far end, with the same heads calibrated, whose sums would else miss rows.
  func requireContinuation(offset: Int, qLen: Int, kLen: Int, calibrated: [Bool]) throws(TamisError) {
    try require(offset == rows, "q_offset is \(offset); expected \(rows), the number of rows that state has seen")
    try require(
      kLen - offset >= qLen, "k has \(kLen) keys; expected at least \(offset + qLen), the rows of state and of q")
    guard let before = self.calibrated else { return }
    for h in 0..<qHeads {
      try require(
        calibrated[h] == before[h],
        "heads[\(h)] is \(calibrated[h] ? 1 : 0); expected \(before[h] ? 1 : 0), as in the calls before with this state")
    }
  }

  /// The rows of one call: queries at positions offset, offset + 1, .. see columns [0, columns) up to their own, within a
  /// window.
  struct Rows {
    var columns: Int
    /// May be negative, and rows may stand past the last column.
    var offset: Int
    var queries: Int
    /// How many columns a row sees at most; 0: all.
    var window: Int

    /// How many of the rows see column j.
    func count(seeing j: Int) -> Int {
      let last = window > 0 ? min(offset + queries, j + window) : offset + queries
      return max(0, last - max(offset, j))
    }
  }

  /// The sinks of a head, with the sums of a call's rows added: columns j >= 1 whose mean weight, over the rows that see them,
  /// is above the threshold. Nothing but `next` changes.
  func findSinks(head: Int, _ rows: Rows, adding sums: UnsafePointer<Double>, threshold: Float, minRows: Int) {
    next[head].removeAll(keepingCapacity: true)
    let before = self.sums[head]
    for j in 1..<max(rows.columns, 1) {
      let count = (j < counts.count ? counts[j] : 0) + rows.count(seeing: j)
      if count < max(minRows, 1) { continue }
      let sum = (j < before.count ? before[j] : 0) + sums[j]
      if sum > Double(threshold) * Double(count) { next[head].append(Int32(truncatingIfNeeded: j)) }
    }
  }

  /// The call succeeded: its rows are rows seen. `sums` holds [columns] for each calibrated head, one after another.
  func commit(_ step: Rows, calibrated heads: [Bool], sums added: UnsafePointer<Double>) {
    calibrated = heads
    rows += step.queries
    counts.append(contentsOf: repeatElement(0, count: max(0, step.columns - counts.count)))
    for j in 0..<step.columns { counts[j] += step.count(seeing: j) }
    var from = added
    for h in 0..<qHeads {
      guard heads[h] else {
        sinks[h].removeAll(keepingCapacity: true)
        continue
      }
      swap(&sinks[h], &next[h])
      sums[h].append(contentsOf: repeatElement(0, count: max(0, step.columns - sums[h].count)))
      for j in 0..<step.columns { sums[h][j] += from[j] }
      from += step.columns
    }
  }
}
