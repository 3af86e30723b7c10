public import TamisCore
public import TamisDevice

/// Work over the segments of a batch, on the threads of a context, with progress between rounds.
public enum SegmentRounds {
  /// Tokens of one round: some tens of milliseconds.
  private static let roundTokens = 1 << 20

  /// Calls `body` with ranges of segments that together are all of them; each call makes its own scratch memory. What it
  /// writes must not depend on how segments are grouped.
  /// - Parameter tokens: of the whole batch, which says how many segments a round and a task take.
  public static func run(
    _ segments: Int, tokens: Int, context: Context, progress: Progress?, _ body: (_ segments: Range<Int>) -> Void
  ) throws(TamisError) {
    if segments == 0 { return }
    try context.withLock { () throws(TamisError) in
      let each = max(1, tokens / segments)
      let round = max(1, roundTokens * context.backend.threads / each)
      var start = 0
      while start < segments {
        if let progress, start > 0, !progress(Double(start) / Double(segments)) {
          throw TamisError(.cancelled, "progress returned 0: cancelled")
        }
        let end = min(segments, start + round)
        // A task of a few thousand tokens at least, so that waking threads costs little.
        let most = context.backend.threads == 1 ? 1 : context.backend.threads * 4
        let tasks = max(1, min(most, end - start, (end - start) * each / 4096))
        let first = start
        context.backend.parallel(tasks) { task in
          let low = first + (end - first) * task / tasks
          let high = first + (end - first) * (task + 1) / tasks
          if low < high { body(low..<high) }
        }
        start = end
      }
    }
  }
}
