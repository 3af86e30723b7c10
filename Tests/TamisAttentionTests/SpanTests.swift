import Tamis
import Testing

/// The calls over arrays and spans give what the calls over tensor views give, and refuse sizes that are no tensor.
@Suite struct SpanTests {
  static let kvHeads = 2, qHeads = 4, dim = 8, tokens = 60
  let k: [Float], v: [Float], q: [Float]

  init() {
    // an irrational step keeps the rows apart
    k = (0..<Self.kvHeads * Self.tokens * Self.dim).map { (Float($0) * 0.6180339).truncatingRemainder(dividingBy: 1) - 0.5 }
    v = k.map { 1 - 2 * $0 }
    q = (0..<Self.qHeads * Self.dim).map { (Float($0) * 0.7548777).truncatingRemainder(dividingBy: 1) - 0.5 }
  }

  private func filled() throws -> (KVCache, SequenceID) {
    let cache = try KVCache(context: Context(), options: KVCacheOptions(kvHeads: Self.kvHeads, headDim: Self.dim))
    let sequence = try cache.makeSequence()
    try cache.append(sequence, layer: 0, k: k, v: v)
    return (cache, sequence)
  }

  private func selector(_ cache: KVCache) throws -> Selector {
    try Selector(
      cache: cache, options: SelectorOptions(method: .tokenSelect, qHeads: Self.qHeads, sinks: 2, recent: 8, topK: 5, chunk: 4))
  }

  @Test func appendTakesRowMajorRows() throws {
    let (cache, sequence) = try filled()
    #expect(try cache.length(of: sequence, layer: 0) == Self.tokens)
    var back = [Float](repeating: 0, count: k.count)
    var span = back.mutableSpan
    try span.withTensor([Self.kvHeads, Self.tokens, Self.dim]) { (view) throws(TamisError) in
      try cache.read(sequence, layer: 0, from: 0, k: view, v: nil)
    }
    #expect(back == k)
  }

  @Test func attendIsAttentionOverWhatRetrieveNames() throws {
    let (cache, sequence) = try filled()
    let selector = try selector(cache)
    let tokens = try selector.retrieve(sequence, layer: 0, q: q)
    #expect(tokens.count == 2 + 5 + 8)
    #expect(tokens == tokens.sorted())
    let out = try selector.attend(sequence, layer: 0, q: q)
    for h in 0..<Self.qHeads {
      var sum = 0.0
      var expected = [Double](repeating: 0, count: Self.dim)
      for token in tokens {
        let row = ((h / 2) * Self.tokens + Int(token)) * Self.dim
        var logit = 0.0
        for d in 0..<Self.dim { logit += Double(q[h * Self.dim + d]) * Double(k[row + d]) }
        // exp by its series: no C library, and the logits are small
        let x = logit / Double(Self.dim).squareRoot()
        var term = 1.0
        var p = 1.0
        for i in 1..<30 {
          term *= x / Double(i)
          p += term
        }
        sum += p
        for d in 0..<Self.dim { expected[d] += p * Double(v[row + d]) }
      }
      for d in 0..<Self.dim { #expect(abs(Double(out[h * Self.dim + d]) - expected[d] / sum) < 1e-5) }
    }
  }

  @Test func statsCountTheCall() throws {
    let (cache, sequence) = try filled()
    var out = [Float](repeating: 0, count: q.count)
    var span = out.mutableSpan
    let stats = try selector(cache).attend(sequence, layer: 0, q: q.span, into: &span)
    #expect(stats.queries == 1)
    #expect(stats.tokensAttended == 15)
  }

  @Test func sizesThatAreNoTensorAreRefused() throws {
    let (cache, sequence) = try filled()
    let selector = try selector(cache)
    #expect(throws: TamisError.self) { try cache.append(sequence, layer: 0, k: [1, 2, 3], v: [1, 2, 3]) }
    #expect(throws: TamisError.self) { try cache.append(sequence, layer: 0, k: [], v: []) }
    #expect(throws: TamisError.self) { try cache.append(sequence, layer: 0, k: k, v: q) }
    #expect(throws: TamisError.self) { try selector.attend(sequence, layer: 0, q: [1]) }
    #expect(throws: TamisError.self) { try selector.retrieve(sequence, layer: 0, q: []) }
    var short = [Float](repeating: 0, count: 1)
    #expect(throws: TamisError.self) {
      var span = short.mutableSpan
      try selector.attend(sequence, layer: 0, q: q.span, into: &span)
    }
    #expect(throws: TamisError.self) { try q.span.withTensor([Int.max, 4]) { _ in } }
    #expect(throws: TamisError.self) { try q.span.withTensor([-1, -32]) { _ in } }
    #expect(throws: TamisError.self) { try q.span.withTensor([]) { _ in } }
    #expect(try cache.length(of: sequence, layer: 0) == Self.tokens)
  }
}
