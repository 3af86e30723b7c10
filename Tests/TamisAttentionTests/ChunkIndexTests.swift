import Tamis
import Testing

@Suite struct ChunkIndexTests {
  private let context = Context(backend: ReferenceBackend())

  private func select(_ index: ChunkIndex, _ q: Tensor, _ budget: Int) throws -> [Int] {
    var list = [Int32](repeating: -1, count: index.tokens)
    let n = try index.select(q.view, budget: budget, into: &list)
    return list[..<n].map(Int.init)
  }

  /// Chunks by the rule: the prompt's, then one for every `open` tokens.
  private func oracle(
    _ k: Tensor, _ edges: [Int], _ q: Tensor, budget: Int, sinks: Int, local: Int
  ) -> [Int] {
    let n = edges.last!
    let (g, d) = (k.view.shape[0], k.view.shape[2])
    let first = min(sinks, budget / 4)
    let last = max(1, min(local, budget - first))
    var taken = Set(Array(0..<first) + Array(n - last..<n))
    let score = zip(edges, edges.dropFirst()).map { (a, b) -> Double in
      var sum = 0.0
      for t in a..<b { for i in 0..<d {
        let key = (0..<g).reduce(0.0) { $0 + k[$1, t, i] }
        sum += key * (0..<q.view.shape[0]).reduce(0.0) { $0 + q[$1, 0, i] }
      } }
      return sum / Double(b - a).squareRoot()
    }
    let order = (0..<n).sorted { a, b in
      let (x, y) = (edges.lastIndex { $0 <= a }!, edges.lastIndex { $0 <= b }!)
      return (score[x], a) > (score[y], b)
    }
    for t in order where taken.count < budget { taken.insert(t) }
    return taken.sorted()
  }

  @Test func growsAndSelects() throws {
    var random = Random(31)
    let k = Tensor.normal([2, 300, 16], &random)
    let index = try ChunkIndex(context: context, kvHeads: 2, headDim: 16, openTokens: 10, sinks: 4, local: 8)
    try index.append(k.tokens(0, 120), boundaries: [0, 30, 77, 120])
    #expect(index.tokens == 120 && index.chunks == 3)
    var edges = [0, 30, 77, 120]
    for t in 120..<300 {
      try index.append(k.tokens(t, 1))
      if (t - 120) % 10 == 0 { edges.append(t + 1) } else { edges[edges.count - 1] = t + 1 }
      if t % 17 == 0 {
        let q = Tensor.normal([4, 1, 16], &random)
        for budget in [1, 3, 20, 60, t] {
          #expect(try select(index, q, budget) == oracle(k, edges, q, budget: budget, sinks: 4, local: 8))
        }
        #expect(try select(index, q, -1) == Array(0...t))
      }
    }
    #expect(index.chunks == 3 + 18)
  }

  @Test func aRunOfTokensIsItsTokens() throws {
    var random = Random(32)
    let k = Tensor.normal([1, 90, 8], &random)
    let (a, b) = (
      try ChunkIndex(context: context, headDim: 8, openTokens: 16, sinks: 2, local: 4),
      try ChunkIndex(context: context, headDim: 8, openTokens: 16, sinks: 2, local: 4)
    )
    try a.append(k.tokens(0, 90))
    for t in 0..<90 { try b.append(k.tokens(t, 1)) }
    #expect(a.chunks == 6 && b.chunks == 6)
    let q = Tensor.normal([3, 1, 8], &random)
    #expect(try select(a, q, 30) == select(b, q, 30))
  }

  @Test func cutBackItIsAsItWas() throws {
    var random = Random(33)
    let k = Tensor.normal([2, 200, 8], &random)
    func index() throws -> ChunkIndex {
      try ChunkIndex(context: context, kvHeads: 2, headDim: 8, openTokens: 12, sinks: 2, local: 5)
    }
    let q = Tensor.normal([2, 1, 8], &random)
    for n in [0, 1, 40, 60, 61, 71, 72, 73, 100, 130] {
      let long = try index()
      try long.append(k.tokens(0, 60), boundaries: [0, 20, 60])
      try long.append(k.tokens(60, 70))
      try long.truncate(to: n)
      let fresh = try index()
      if n >= 60 {
        try fresh.append(k.tokens(0, 60), boundaries: [0, 20, 60])
        if n > 60 { try fresh.append(k.tokens(60, n - 60)) }
      } else if n > 0 {
        try fresh.append(k.tokens(0, n), boundaries: n > 20 ? [0, 20, Int64(n)] : [0, Int64(n)])
      }
      #expect(long.tokens == n && long.chunks == fresh.chunks)
      for both in [long, fresh] { try both.append(k.tokens(n, 30)) }
      for budget in [9, 25] { #expect(try select(long, q, budget) == select(fresh, q, budget)) }
    }
  }

  /// Decode over a cache: all of the budget is dense attention, and a chunk that answers the query is found among many.
  @Test func decodesOverACache() throws {
    var random = Random(34)
    let n = 1000
    let k = Tensor.normal([2, n, 16], &random, scale: 0.3)
    let v = Tensor.normal([2, n, 16], &random)
    let q = Tensor.normal([4, 1, 16], &random)
    for h in 1..<4 { for i in 0..<16 { q[h, 0, i] = q[0, 0, i] + 0.3 * q[h, 0, i] } }
    let needle = 400..<420
    for t in needle {
      for h in 0..<2 { for i in 0..<16 { k[h, t, i] = 4 * (q[2 * h, 0, i] + q[2 * h + 1, 0, i]) } }
    }
    let context = try Context()
    let cache = try KVCache(
      context: context, options: KVCacheOptions(kvHeads: 2, headDim: 16, maxTokens: 2048))
    let sequence = try cache.makeSequence()
    try cache.append(sequence, layer: 0, k: k.view, v: v.view)
    let selector = try Selector(cache: cache, options: SelectorOptions(method: .dense, qHeads: 4, positions: .natural))
    let index = try ChunkIndex(context: context, kvHeads: 2, headDim: 16, openTokens: 32, sinks: 8, local: 16)
    try index.append(k.tokens(0, 960), boundaries: [0] + stride(from: 20, through: 960, by: 20).map { Int64($0) })
    try index.append(k.tokens(960, 40))

    func attend(_ budget: Int) throws -> ([Float], [Int32]) {
      let out = Tensor([4, 1, 16])
      let list = try select(index, q, budget).map(Int32.init)
      var stats = RetrievalStats()
      try list.withUnsafeBufferPointer {
        try selector.attend(sequence, layer: 0, q: q.view, tokens: $0, out: out.view, lse: nil, stats: &stats)
      }
      return (Array(out.floats), list)
    }
    let out = Tensor([4, 1, 16])
    var stats = RetrievalStats()
    try selector.attend(sequence, layer: 0, q: q.view, out: out.view, lse: nil, stats: &stats)
    let dense = Array(out.floats)
    #expect(try attend(-1).0 == dense)
    #expect(try attend(n).0 == dense)
    let (sparse, list) = try attend(64)
    #expect(list.count == 64 && needle.allSatisfy { list.contains(Int32($0)) })
    #expect(zip(sparse, dense).allSatisfy { abs($0 - $1) < 0.02 })
  }

  @Test func refusals() throws {
    func refused(_ body: () throws -> Void) -> Bool { (try? body()) == nil }
    #expect(refused { _ = try ChunkIndex(context: context, headDim: 12) })
    #expect(refused { _ = try ChunkIndex(context: context, openTokens: 0) })
    let index = try ChunkIndex(context: context, kvHeads: 2, headDim: 8)
    #expect(refused { try index.append(Tensor([1, 4, 8]).view) })
    #expect(refused { try index.append(Tensor([2, 4, 16]).view) })
    #expect(refused { try index.append(Tensor([2, 4, 8]).view, boundaries: [0, 5]) })
    #expect(index.tokens == 0)
    try index.append(Tensor([2, 4, 8]).view)
    #expect(refused { try index.truncate(to: 5) })
    #expect(refused { _ = try select(index, Tensor([3, 1, 8]), 2) })
    #expect(refused { _ = try select(index, Tensor([2, 2, 8]), 2) })
    #expect(refused { _ = try select(index, Tensor([2, 1, 8]), 0) })
  }
}
