import Glibc
import Testing

@testable import TamisDevice
import TamisCore

extension OpenCLTests {
  @Suite(.needsDevice) struct ScoreTests {
    /// Votes by the definition, in f64.
    static func expected(
      _ cache: TestCache, _ keys: [Float], _ query: [Float], heads: Int, candidates: Range<Int>, rule: VoteRule
    ) -> [Double] {
      let d = cache.layout.headDim, kvHeads = cache.layout.kvHeads, n = candidates.count
      var votes = [Double](repeating: 0, count: n)
      for h in 0..<heads {
        let g = rule.headMap == .group ? h / (heads / kvHeads) : h % kvHeads
        var z = [Double](repeating: 0, count: n)
        for (j, token) in candidates.enumerated() {
          var dot = 0.0
          for e in 0..<d { dot += Double(query[h * d + e]) * Double(keys[(g * cache.n + token) * d + e]) }
          let largest = Double(Float.greatestFiniteMagnitude)
          z[j] = dot.isNaN ? -.infinity : max(-largest, min(largest, dot))
        }
        switch rule.kind {
        case .soft:
          let m = z.max()!
          let sum = z.reduce(0) { $0 + exp($1 - m) }
          if m > -.infinity { for j in 0..<n { votes[j] += exp(z[j] - m) / sum } }
        case .topK: for j in 0..<n { votes[j] += z[j] }
        case .heads:
          let best = (0..<n).sorted { z[$0] != z[$1] ? z[$0] > z[$1] : $0 < $1 }
          for j in best.prefix(rule.topK) { votes[j] += 1 }
        }
      }
      if rule.pool > 1 {
        let half = rule.pool / 2
        votes = (0..<n).map { j in votes[max(0, j - half)...min(n - 1, j + half)].max()! }
      }
      return votes
    }

    static func check(
      _ cache: TestCache, heads: Int, candidates: Range<Int>, rule: VoteRule, keys: [Float]? = nil, tolerance: Double = 2e-5
    ) throws {
      let backend = try #require(Device.backend)
      var random = Random(UInt64(heads))
      let query = random.array(heads * cache.layout.headDim)
      let scores = backend.makeScores()
      try cache.score(backend, query, heads: heads, candidates: candidates, rule: rule, into: scores)
      #expect(scores.candidates == candidates)
      var votes = [Float](repeating: -77, count: candidates.count)
      try scores.read(into: &votes)
      let off = difference(
        votes, expected(cache, keys ?? cache.storedK, query, heads: heads, candidates: candidates, rule: rule))
      #expect(off < tolerance, "\(off): \(heads) heads over \(candidates), \(rule), \(cache.layout)")
    }

    @Test(arguments: [VoteRule.Kind.soft, .topK, .heads]) func everyKind(_ kind: VoteRule.Kind) throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 333, kvHeads: 2, d: 40)
      for map in [VoteRule.HeadMap.group, .modulo] {
        for heads in [2, 6, 40] {
          for pool in [0, 1, 5] {
            try Self.check(
              cache, heads: heads, candidates: 3..<320, rule: VoteRule(kind: kind, headMap: map, pool: pool, topK: 17))
          }
        }
      }
      try Self.check(cache, heads: 4, candidates: 100..<101, rule: VoteRule(kind: kind, pool: 7, topK: 3))
      try Self.check(cache, heads: 4, candidates: 0..<333, rule: VoteRule(kind: kind, topK: 1000))
      try Self.check(cache, heads: 4, candidates: 0..<64, rule: VoteRule(kind: kind, topK: 0))
    }

    /// More than one block of the softmax and of the selection.
    @Test func manyTokens() throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 9001, kvHeads: 1, d: 16, pageTokens: 64)
      for kind in [VoteRule.Kind.soft, .topK, .heads] {
        try Self.check(cache, heads: 3, candidates: 1..<9000, rule: VoteRule(kind: kind, topK: 4321))
      }
    }

    @Test(arguments: [DType.f32, .f16, .bf16, .i8]) func everyDType(_ dtype: DType) throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 100, d: 32, dtype: dtype)
      try Self.check(cache, heads: 4, candidates: 0..<100, rule: VoteRule(kind: .topK))
      for copy in [DType.bf16, .i8] {
        let cache = try TestCache(backend, n: 100, d: 32, dtype: dtype, copy: copy)
        // i8 over i8 is the same integers.
        let copied = dtype == .i8 && copy == .i8 ? cache.storedK : stored(cache.storedK, rows: 32, copy)
        try Self.check(cache, heads: 4, candidates: 0..<100, rule: VoteRule(kind: .topK), keys: copied)
        // Attention reads the keys themselves.
        try cache.check(backend, heads: 4, c: 1, tokens: .all(100), list: Array(0..<100))
      }
    }

    @Test func notANumber() throws {
      let backend = try #require(Device.backend)
      let n = 70, d = 8
      let cache = try TestCache(backend, n: n, kvHeads: 2, d: d) { k, _ in
        for h in 0..<2 {
          k[(h * n + 10) * d] = .nan
          for e in 0..<d { k[(h * n + 20) * d + e] = 1e30 }
        }
        // A head all of whose logits are NaN has no say.
        for t in 0..<n { k[t * d + 1] = .nan }
      }
      for kind in [VoteRule.Kind.soft, .heads] {
        try Self.check(cache, heads: 2, candidates: 0..<n, rule: VoteRule(kind: kind, topK: 5))
      }
      let infinite = try TestCache(backend, n: n, kvHeads: 1, d: d) { k, _ in
        k[10 * d] = .infinity
        k[20 * d] = -.infinity
        k[30 * d] = .nan
      }
      for kind in [VoteRule.Kind.soft, .topK, .heads] {
        var rule = VoteRule(kind: kind, topK: 69)
        // FLT_MAX, -FLT_MAX, -inf
        try Self.check(infinite, heads: 1, candidates: 0..<n, rule: rule, tolerance: 2e-5)
        rule.pool = 3
        try Self.check(infinite, heads: 1, candidates: 0..<n, rule: rule, tolerance: 2e-5)
      }
    }

    /// Votes sum to the number of heads: every softmax does to 1.
    @Test func conservation() throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 5000, kvHeads: 4, d: 16, pageTokens: 256)
      let query = [Float](repeating: 0.7, count: 8 * 16)
      let scores = backend.makeScores()
      try cache.score(backend, query, heads: 8, candidates: 0..<5000, rule: VoteRule(), into: scores)
      var votes = [Float](repeating: 0, count: 5000)
      try scores.read(into: &votes)
      #expect(abs(votes.reduce(0) { $0 + Double($1) } - 8) < 1e-4)
    }

    @Test func emptyCandidates() throws {
      let backend = try #require(Device.backend)
      let cache = try TestCache(backend, n: 20)
      let scores = backend.makeScores(), selection = backend.makeSelection()
      try cache.score(
        backend, [Float](repeating: 1, count: 64), heads: 2, candidates: 5..<5, rule: VoteRule(), into: scores)
      try backend.select(3, from: scores, into: selection)
      #expect(selection.count == 0)
    }
  }
}
