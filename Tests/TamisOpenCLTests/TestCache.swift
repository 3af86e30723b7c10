import Testing

@testable import TamisDevice
import TamisCore

/// A one-sequence cache over an `OpenCLStore`, with its pages in a scrambled order, and what it should hold.
final class TestCache {
  let store: any KVStore
  let layout: KVLayout
  let layer: Int
  let n: Int
  /// [kvHeads][n][headDim], as given and as stored
  let k, v, storedK, storedV: [Float]
  let pages: [Int32]

  init(
    _ backend: OpenCLBackend, n: Int, kvHeads: Int = 2, d: Int = 32, dtype: DType = .f32, copy: DType? = nil,
    sourceDType: DType = .f32, pageTokens: Int = 16, layers: Int = 2, layer: Int = 1, seed: UInt64 = 1,
    change: (inout [Float], inout [Float]) -> Void = { _, _ in }
  ) throws {
    self.n = n
    self.layer = layer
    let needed = (n + pageTokens - 1) / pageTokens
    layout = KVLayout(
      layers: layers, kvHeads: kvHeads, headDim: d, dtype: dtype, pageTokens: pageTokens, maxPages: needed + 3,
      scoringCopy: copy)
    store = try backend.makeStore(layout)
    var random = Random(seed)
    var k = random.array(kvHeads * n * d), v = random.array(kvHeads * n * d)
    change(&k, &v)
    self.k = k
    self.v = v
    storedK = stored(stored(k, rows: d, sourceDType), rows: d, dtype)
    storedV = stored(stored(v, rows: d, sourceDType), rows: d, dtype)
    var order = (0..<(needed + 3)).map { Int32($0) }
    for i in order.indices.reversed() { order.swapAt(i, random.below(i + 1)) }
    pages = Array(order[..<needed])

    let tk = HostTensor(k, [kvHeads, n, d], sourceDType), tv = HostTensor(v, [kvHeads, n, d], sourceDType)
    var done = 0
    while done < n {
      // Runs of odd lengths that stop at page ends.
      let slot = done % pageTokens
      let count = min(pageTokens - slot, n - done, 1 + random.below(2 * pageTokens))
      try store.write(
        layer: layer, page: pages[done / pageTokens], slot: slot, count: count, k: tk.view, v: tv.view, from: done)
      done += count
    }
  }

  /// Attention of the last c tokens, against the oracle; returns (out, lse) differences.
  func check(
    _ backend: OpenCLBackend, heads: Int, c: Int, tokens: AttendedTokens, list: [Int], rope: RoPE = .none,
    positions: AttentionRule.Positions = .compact, softcap: Float = 0, window: Int = 0, bias: Bool = false, count: Int? = nil,
    repeated times: Int = 1,
    within tolerance: Double = 3e-5
  ) throws {
    let d = layout.headDim, count = count ?? n * times
    // The same pages over and over make a sequence `times` as long.
    let pages = (0..<times).flatMap { _ in self.pages }
    var random = Random(77)
    let q = random.array(heads * c * d), biases = random.array(heads)
    var oracle = Oracle(
      heads: heads, kvHeads: layout.kvHeads, c: c, d: d, q: q, k: storedK, v: storedV, n: n, scale: 0.25, first: count - c,
      list: list)
    oracle.softcap = Double(softcap)
    oracle.window = window
    oracle.bias = bias ? biases : nil
    oracle.rope = rope
    oracle.compact = positions == .compact
    let expected = oracle.attend()
    var rule = AttentionRule(scale: 0.25)
    rule.softcap = softcap
    rule.window = window
    rule.rope = rope
    rule.positions = positions
    let tq = HostTensor(q, [heads, c, d]), out = HostTensor([heads, c, d]), lse = HostTensor([heads, c])
    try pages.withUnsafeBufferPointer { pages in
      try biases.withUnsafeBufferPointer { biases in
        rule.keyZeroBias = bias ? biases.baseAddress : nil
        let keys = CachedKeys(store: store, layer: layer, pages: pages.baseAddress!, count: count)
        try backend.attend(q: tq.view, over: keys, tokens: tokens, rule: rule, out: out.view, lse: lse.view)
      }
    }
    let a = difference(out.floats, expected.out), b = difference(lse.floats, expected.lse)
    #expect(a < tolerance && b < tolerance, "out \(a), lse \(b): \(heads) heads, c \(c), \(list.count) of \(count), \(layout)")
  }

  /// The scores of `candidates`.
  func score(
    _ backend: OpenCLBackend, _ query: [Float], heads: Int, candidates: Range<Int>, rule: VoteRule, into scores: any TokenScores
  ) throws {
    try pages.withUnsafeBufferPointer { pages in
      let keys = CachedKeys(store: store, layer: layer, pages: pages.baseAddress!, count: n)
      try backend.score(query: query, qHeads: heads, over: keys, candidates: candidates, rule: rule, into: scores)
    }
  }
}
