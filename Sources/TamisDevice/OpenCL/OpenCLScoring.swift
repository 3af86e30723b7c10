import CShims
public import TamisCore

/// Score and spend: votes of the candidates, and the k best of them.
extension OpenCLBackend {
  private static let block = 4096

  public func score(
    query: UnsafePointer<Float>, qHeads: Int, over keys: CachedKeys, candidates: Range<Int>, rule: VoteRule,
    into scores: any TokenScores
  ) throws(TamisError) {
    guard let scores = scores as? OpenCLScores else { throw TamisError(.internalError, "the scores belong to another device") }
    let store = try store(of: keys)
    let layout = store.layout, d = layout.headDim, n = candidates.count
    let votes = try scores.reserve(candidates)
    if n == 0 { return }
    let memory = try store.layer(keys.layer)
    let frames = try self.frames.table(keys, of: store)
    let q = try queries.reserve(qHeads * d * 4)
    try q.write(query, bytes: qHeads * d * 4)
    let z = try logits.reserve(qHeads * n * 4)

    let group = qHeads / layout.kvHeads
    let rows = Self.powerOfTwo(atLeast: min(group, 16))
    let step = [32, 24, 16, 8].first { d % $0 == 0 } ?? d
    let dtype = layout.scoringCopy ?? layout.dtype
    let kernel = try programs.kernel(
      .score, "score", ["D": d, "DTYPE": Int(dtype.rawValue), "ROWS": rows, "DC": step])
    try queue.run(
      kernel, groups: ((n + 63) / 64, layout.kvHeads, (group + rows - 1) / rows), items: 64,
      [
        .buffer(q), .buffer(memory.copy ?? memory.keys),
        .buffer(memory.copy == nil ? memory.keyScales : memory.copyScales ?? memory.keys), .buffer(frames),
        .int(layout.pageTokens), .int(layout.kvHeads), .int(candidates.lowerBound), .int(n), .int(group),
        .flag(rule.headMap == .modulo), .buffer(z),
      ])

    let pooled = rule.pool > 1
    let plain = pooled ? try unpooled.reserve(n * 4) : votes
    let groups = ((n + 255) / 256, 1, 1)
    switch rule.kind {
    case .soft:
      let blocks = (n + Self.block - 1) / Self.block
      let stats = try softmaxStats.reserve(qHeads * blocks * 8), totals = try softmaxTotals.reserve(qHeads * 8)
      try queue.run(
        try programs.kernel(.vote, "softmax_blocks"), groups: (blocks, qHeads, 1), items: 256,
        [.buffer(z), .int(n), .buffer(stats)])
      try queue.run(
        try programs.kernel(.vote, "softmax_heads"), groups: ((qHeads + 63) / 64, 1, 1), items: 64,
        [.buffer(stats), .int(blocks), .int(qHeads), .buffer(totals)])
      try queue.run(
        try programs.kernel(.vote, "vote_soft"), groups: groups, items: 256,
        [.buffer(z), .buffer(totals), .int(n), .int(qHeads), .buffer(plain)])
    case .heads:
      try mark(z, rows: qHeads, count: n, k: rule.topK)
      fallthrough
    case .topK:
      try queue.run(
        try programs.kernel(.vote, "vote_sum"), groups: groups, items: 256,
        [.buffer(z), .int(n), .int(qHeads), .buffer(plain)])
    }
    if pooled {
      try queue.run(
        try programs.kernel(.vote, "pool"), groups: groups, items: 256,
        [.buffer(plain), .int(n), .int(rule.pool), .buffer(votes)])
    }
  }

  public func select(_ k: Int, from scores: any TokenScores, into selection: any TokenSelection) throws(TamisError) {
    guard let scores = scores as? OpenCLScores, let selection = selection as? OpenCLSelection else {
      throw TamisError(.internalError, "the scores or the selection belong to another device")
    }
    let n = scores.candidates.count, first = scores.candidates.lowerBound
    let count = min(max(k, 0), n)
    let winners = try selection.reserve(count)
    guard count > 0, let buffer = scores.buffer else { return }
    if count == n {
      try queue.run(
        try programs.kernel(.topK, "all_of"), groups: ((n + 255) / 256, 1, 1), items: 256,
        [.int(n), .int(first), .buffer(winners)])
      return
    }
    let (state, blocks) = try findKth(buffer, rows: 1, count: n, k: count)
    try queue.run(
      try programs.kernel(.topK, "place"), groups: ((n + Self.block - 1) / Self.block, 1, 1), items: 256,
      [.buffer(buffer), .int(n), .int(first), .buffer(state), .buffer(blocks), .buffer(winners)])
  }

  /// Replaces each row's scores by 1 for its k largest and 0 for the others.
  private func mark(_ scores: OpenCLBuffer, rows: Int, count: Int, k: Int) throws(TamisError) {
    if k <= 0 {
      try scores.zero(from: 0, bytes: rows * count * 4)
      return
    }
    let (state, blocks) = try findKth(scores, rows: rows, count: count, k: min(k, count))
    try queue.run(
      try programs.kernel(.topK, "mark"), groups: ((count + Self.block - 1) / Self.block, rows, 1), items: 256,
      [.buffer(scores), .int(count), .buffer(state), .buffer(blocks)])
  }

  /// The k-th largest key of each row, and how many winners and equals come before each block. 1 <= k <= count.
  private func findKth(
    _ scores: OpenCLBuffer, rows: Int, count: Int, k: Int
  ) throws(TamisError) -> (state: OpenCLBuffer, blocks: OpenCLBuffer) {
    let n = (count + Self.block - 1) / Self.block
    let state = try selectState.reserve(rows * 8), bins = try histogram.reserve(rows * 256 * 4)
    let blocks = try selectBlocks.reserve(rows * n * 8)
    try queue.run(
      try programs.kernel(.topK, "begin"), groups: (rows, 1, 1), items: 256,
      [.int(rows), .int(k), .buffer(state), .buffer(bins)])
    let countBytes = try programs.kernel(.topK, "count_bytes"), chooseByte = try programs.kernel(.topK, "choose_byte")
    for shift in [24, 16, 8, 0] {
      let mask = shift == 24 ? 0 : UInt32.max << UInt32(shift + 8)
      try queue.run(
        countBytes, groups: (n, rows, 1), items: 256,
        [.buffer(scores), .int(count), .uint(mask), .int(shift), .buffer(state), .buffer(bins)])
      try queue.run(chooseByte, groups: (rows, 1, 1), items: 256, [.int(shift), .buffer(state), .buffer(bins)])
    }
    try queue.run(
      try programs.kernel(.topK, "count_blocks"), groups: (n, rows, 1), items: 256,
      [.buffer(scores), .int(count), .buffer(state), .buffer(blocks)])
    try queue.run(
      try programs.kernel(.topK, "scan_blocks"), groups: (rows, 1, 1), items: 256, [.buffer(blocks), .int(n)])
    return (state, blocks)
  }

  static func powerOfTwo(atLeast n: Int) -> Int {
    var power = 1
    while power < n { power *= 2 }
    return power
  }
}
