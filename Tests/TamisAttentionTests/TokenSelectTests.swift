@testable import TamisAttention
import Tamis
import Testing

#if canImport(Glibc)
import Glibc
#endif

private let halfRoPE = RoPE(style: .half, rotaryDims: 0, base: 10000, scale: 0.5)

/// The tests of the method page of TokenSelect (arXiv 2411.02886) that need no weights.
@Suite struct TokenSelectTests {
  // 1
  @Test(arguments: Engine.allCases) func withinTheBudgetItIsDenseBitForBit(on engine: Engine) throws {
    for n in 60...66 {
      var f = try Fixture(on: engine, tokens: n, rope: halfRoPE)
      let q = Tensor.normal([4, 1, 16], &f.random)
      let options = SelectorOptions(qHeads: 4, sinks: 4, recent: 20, topK: 40, chunk: 8)
      let selector = try f.selector(options)
      let sparse = try selector.attend(f.sequence, q.view)
      let dense = try f.selector(SelectorOptions(method: .dense, qHeads: 4)).attend(f.sequence, q.view)
      #expect(dense.stats.chunksDense == 1)
      #expect(sparse.stats.chunksDense == (n <= 64 ? 1 : 0))
      #expect(sparse.stats.selections == (n <= 64 ? 0 : 1))
      #expect(Array(sparse.out.floats) == Array(dense.out.floats) ? n <= 64 : n > 64)
      if n <= 64 { #expect(try selector.retrieve(f.sequence, q.view) == Array(0..<Int32(n))) }
    }
  }

  // 2
  @Test(arguments: Engine.allCases) func withAllCandidatesButOneItIsDenseOverTheOthers(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 70)
    let q = Tensor.normal([4, 5, 16], &f.random)
    let sinks = 4
    let recent = 6
    // One candidate stays out, as dense takes over beyond; the rest must be plain causal attention over the other 69.
    let selector = try f.selector(SelectorOptions(qHeads: 4, sinks: sinks, recent: recent, topK: 59, chunk: 5))
    let sparse = try selector.attend(f.sequence, q.view)
    #expect(sparse.stats.selections == 1)
    let list = try selector.retrieve(f.sequence, q.view)
    #expect(list.count == 69)
    let dense = try oracle(f, q, list: list.map(Int.init), heads: 4, rope: .none, compact: true)
    #expect(maxDifference(sparse.out, dense) < 1e-5)
  }

  // 3, 4
  @Test(arguments: Engine.allCases) func everyHeadCastsOneVote(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 120, rope: halfRoPE)
    let q = Tensor.normal([4, 3, 16], &f.random)
    let options = SelectorOptions(qHeads: 4, sinks: 4, recent: 16, topK: 8, chunk: 8)
    let selector = try f.selector(options)
    func check(_ q: Tensor) throws -> [Float] {
      let votes = try selector.votes(f.sequence, q.view)
      for j in votes.indices { #expect(votes[j].isNaN == !(4..<104).contains(j)) }
      let legal = Array(votes[4..<104])
      #expect(abs(legal.reduce(0, +) - 4) < 1e-4)
      #expect(legal.allSatisfy { $0 >= 0 && $0 <= 4 })
      return legal
    }
    _ = try check(q)
    // A loud head still has one vote.
    for t in 0..<3 { for i in 0..<16 { q[0, t, i] *= 100 } }
    let soft = try check(q)
    var options2 = options
    options2.vote = .topK
    let raw = try f.selector(options2).votes(f.sequence, q.view)
    let loud = (4..<104).map { token in headLogit(f, q, head: 0, kv: 0, token, recent: 16) }
    // With raw products the loud head alone decides; with the soft vote the quiet ones keep 3 of 4 votes.
    #expect(Set(best(Array(raw[4..<104]).map(Double.init), 4)) == Set(best(loud, 4)))
    #expect(Set(best(soft.map(Double.init), 8)) != Set(best(loud, 8)))
  }

  // 4: a constant on all logits of a head. Give every key a component that only this head's query sees.
  @Test(arguments: Engine.allCases) func aConstantOnOneHeadsLogitsChangesNothing(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60, kvHeads: 1)
    let other = try f.cache.makeSequence()
    for t in 0..<60 { f.k[0, t, 15] = 1 }
    try f.cache.append(other, layer: 0, k: f.k.view, v: f.v.view)
    let q = Tensor.normal([2, 1, 16], &f.random)
    let selector = try f.selector(SelectorOptions(qHeads: 2, sinks: 2, recent: 8, topK: 8, chunk: 8))
    q[0, 0, 15] = 0
    let before = try selector.votes(other, q.view)
    q[0, 0, 15] = 37
    let after = try selector.votes(other, q.view)
    for j in 2..<52 { #expect(abs(before[j] - after[j]) < 1e-5) }
  }

  // 5, 6
  @Test(arguments: Engine.allCases) func aPlantedNeedleIsSelectedWhereverItsPageLies(on engine: Engine) throws {
    for needle in [5, 16, 31, 77, 101] {
      var f = try Fixture(on: engine, tokens: 40, maxTokens: 2048)
      // Scramble the free pages, so that tokens lie in no order.
      var others: [SequenceID] = []
      for _ in 0..<6 {
        let s = try f.cache.makeSequence()
        try f.cache.append(s, layer: 0, k: f.k.tokens(0, 40), v: f.v.tokens(0, 40))
        others.append(s)
      }
      let s = try f.cache.makeSequence()
      let k = Tensor.normal([2, 120, 16], &f.random)
      let v = Tensor.normal([2, 120, 16], &f.random)
      let q = Tensor.normal([4, 3, 16], &f.random)
      for h in 0..<2 {
        for i in 0..<16 {
          k[h, needle, i] = 20 * (0..<3).reduce(0) { $0 + q[2 * h, $1, i] + q[2 * h + 1, $1, i] }
        }
      }
      for (i, t) in stride(from: 0, to: 120, by: 12).enumerated() {
        try f.cache.append(s, layer: 0, k: k.tokens(t, 12), v: v.tokens(t, 12))
        if i % 2 == 0 { try f.cache.destroy(others[i / 2]) }
      }
      let selector = try f.selector(SelectorOptions(qHeads: 4, sinks: 2, recent: 10, topK: 6, chunk: 10))
      let scattered = try selector.retrieve(s, q.view)
      #expect(scattered.contains(Int32(needle)))
      // The same tokens in order: same list, same output.
      let g = try Fixture(on: engine, tokens: 1)
      let t = try g.cache.makeSequence()
      try g.cache.append(t, layer: 0, k: k.view, v: v.view)
      let straight = try Selector(cache: g.cache, options: selector.options)
      #expect(try straight.retrieve(t, q.view) == scattered)
      #expect(Array(try straight.attend(t, q.view).out.floats) == Array(try selector.attend(s, q.view).out.floats))
    }
  }

  // Independent oracle of the whole method: votes, list and output, in f64.
  @Test(arguments: [RoPE.Style.none, .half, .interleaved].flatMap { [($0, 1), ($0, 4)] }, Engine.allCases)
  func matchesTheOracle(run: (style: RoPE.Style, c: Int), on engine: Engine) throws {
    let (style, c) = run
    let rope = RoPE(style: style, rotaryDims: style == .interleaved ? 8 : 0, base: 500, scale: 0.25)
    var f = try Fixture(on: engine, tokens: 90, rope: rope)
    let q = Tensor.normal([4, c, 16], &f.random)
    let (sinks, recent, topK) = (3, 8, 12)
    let selector = try f.selector(SelectorOptions(qHeads: 4, sinks: sinks, recent: recent, topK: topK, chunk: 4))
    let resolved = f.cache.options.rope
    var votes = [Double](repeating: 0, count: 79)
    for h in 0..<4 {
      var mean = [Double](repeating: 0, count: 16)
      for t in 0..<c {
        let r = rotated((0..<16).map { q[h, t, $0] }, resolved, recent + t)
        for i in 0..<16 { mean[i] += r[i] / Double(c) }
      }
      let logits = (3..<82).map { j in (0..<16).reduce(0.0) { $0 + mean[$1] * f.k[h / 2, j, $1] } }
      let sum = logits.reduce(0) { $0 + exp($1) }
      for j in votes.indices { votes[j] += exp(logits[j]) / sum }
    }
    let got = try selector.votes(f.sequence, q.view)
    for j in votes.indices { #expect(abs(Double(got[j + 3]) - votes[j]) < 1e-5) }
    let list = [0, 1, 2] + best(votes, topK).map { $0 + 3 }.sorted() + Array(82..<90)
    #expect(try selector.retrieve(f.sequence, q.view) == list.map(Int32.init))
    // 7
    let expected = try oracle(f, q, list: list, heads: 4, rope: resolved, compact: true)
    let result = try selector.attend(f.sequence, q.view)
    #expect(maxDifference(result.out, expected) < 1e-5)
    var natural = selector.options
    natural.positions = .natural
    let inPlace = try oracle(f, q, list: list, heads: 4, rope: resolved, compact: false)
    #expect(maxDifference(try f.selector(natural).attend(f.sequence, q.view).out, inPlace) < 1e-5)
    #expect((maxDifference(expected, inPlace) < 1e-5) == rope.isNone)
  }

  // 8
  @Test(arguments: Engine.allCases) func aChunkScoresAsTheMeanOfItsQueries(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 80)
    let q = Tensor.normal([2, 4, 16], &f.random)
    let mean = Tensor([2, 1, 16])
    for h in 0..<2 { for i in 0..<16 { mean[h, 0, i] = (0..<4).reduce(0) { $0 + q[h, $1, i] } / 4 } }
    let selector = try f.selector(SelectorOptions(sinks: 2, recent: 8, topK: 8, chunk: 8))
    let chunk = try selector.votes(f.sequence, q.view)
    let single = try selector.votes(f.sequence, mean.view)
    for j in 2..<72 { #expect(abs(chunk[j] - single[j]) < 1e-5) }
  }

  // 10
  @Test(arguments: [(1, 4), (2, 2), (2, 4), (4, 8)], Engine.allCases) func headMapsAgreeWithoutGroups(
    heads: (kv: Int, q: Int), on engine: Engine
  ) throws {
    var f = try Fixture(on: engine, tokens: 80, kvHeads: heads.kv)
    let q = Tensor.normal([heads.q, 1, 16], &f.random)
    var options = SelectorOptions(qHeads: heads.q, sinks: 2, recent: 8, topK: 8, chunk: 8)
    let group = try f.selector(options).votes(f.sequence, q.view)
    options.headMap = .modulo
    let modulo = try f.selector(options).votes(f.sequence, q.view)
    let same = zip(group[2..<72], modulo[2..<72]).allSatisfy { abs($0 - $1) < 1e-6 }
    #expect(same == (heads.kv == 1 || heads.kv == heads.q))
  }

  // 11
  @Test(arguments: Engine.allCases) func maxPoolSpreadsAVoteToItsNeighbours(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 80, kvHeads: 1)
    let q = Tensor.normal([1, 1, 16], &f.random)
    let s = try f.cache.makeSequence()
    let k = Tensor([1, 80, 16])
    for i in 0..<16 { k[0, 40, i] = 10 * q[0, 0, i] }
    try f.cache.append(s, layer: 0, k: k.view, v: k.view)
    var options = SelectorOptions(sinks: 2, recent: 8, topK: 5, chunk: 8)
    let plain = try f.selector(options).votes(s, q.view)
    options.pool = 1
    #expect(try f.selector(options).votes(s, q.view)[2..<72].elementsEqual(plain[2..<72]))
    options.pool = 5
    let pooled = try f.selector(options)
    let votes = try pooled.votes(s, q.view)
    for j in 2..<72 { #expect((votes[j] > 0.5) == (38...42).contains(j)) }
    #expect(try pooled.retrieve(s, q.view) == [0, 1] + Array(38...42) + Array(72..<80))
  }

  @Test(arguments: Engine.allCases) func headVoteCountsHeads(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 80, kvHeads: 2)
    let q = Tensor.normal([4, 1, 16], &f.random)
    let options = SelectorOptions(qHeads: 4, sinks: 2, recent: 8, topK: 6, chunk: 8, vote: .heads)
    let votes = try f.selector(options).votes(f.sequence, q.view)[2..<72]
    #expect(votes.reduce(0, +) == 24)
    #expect(votes.allSatisfy { $0 == $0.rounded() && $0 <= 4 })
  }

  private func headLogit(_ f: Fixture, _ q: Tensor, head: Int, kv: Int, _ token: Int, recent: Int) -> Double {
    var sum = 0.0
    let c = q.view.shape[1]
    for t in 0..<c {
      let r = rotated((0..<16).map { q[head, t, $0] }, f.cache.options.rope, recent + t)
      for i in 0..<16 { sum += r[i] * f.k[kv, token, i] / Double(c) }
    }
    return sum
  }
}

/// Attention of the last queries over a list: gathered rows with positions 0, 1, 2, .. (or their own), causal at the end.
func oracle(_ f: Fixture, _ q: Tensor, list: [Int], heads: Int, rope: RoPE, compact: Bool) throws -> Tensor {
  let c = q.view.shape[1]
  let n = f.k.view.shape[1]
  let group = heads / f.k.view.shape[0]
  let d = q.view.shape[2]
  let out = Tensor([heads, c, d])
  for h in 0..<heads {
    for t in 0..<c {
      let own = n - c + t
      let query = rotated((0..<d).map { q[h, t, $0] }, rope, compact ? list.count - c + t : own)
      var weights: [Double] = []
      let seen = list.filter { $0 <= own }
      for (place, j) in seen.enumerated() {
        let key = rotated((0..<d).map { f.k[h / group, j, $0] }, rope, compact ? place : j)
        weights.append(exp((0..<d).reduce(0.0) { $0 + query[$1] * key[$1] } / Double(d).squareRoot()))
      }
      let sum = weights.reduce(0, +)
      for i in 0..<d { out[h, t, i] = zip(weights, seen).reduce(0.0) { $0 + $1.0 / sum * f.v[h / group, $1.1, i] } }
    }
  }
  return out
}
