@testable import TamisAttention
import Tamis
import Testing

/// What is the same for every method: chunking, stats, dtypes, lists of the caller's, bad input.
@Suite struct SelectorTests {
  @Test(arguments: Engine.allCases) func streamingIsSinksAndWindow(on engine: Engine) throws {
    for rope in [RoPE.none, RoPE(style: .half, rotaryDims: 0)] {
      var f = try Fixture(on: engine, tokens: 90, rope: rope)
      let q = Tensor.normal([4, 3, 16], &f.random)
      let selector = try f.selector(SelectorOptions(method: .streaming, qHeads: 4, sinks: 4, recent: 20, topK: 50, chunk: 3))
      let list = Array(0..<4) + Array(70..<90)
      #expect(try selector.retrieve(f.sequence, q.view) == list.map(Int32.init))
      let result = try selector.attend(f.sequence, q.view)
      let expected = try oracle(f, q, list: list, heads: 4, rope: f.cache.options.rope, compact: true)
      #expect(maxDifference(result.out, expected) < 1e-5)
      #expect(result.stats.selections == 0 && result.stats.tokensScored == 0 && result.stats.chunksDense == 0)
      #expect(result.stats.tokensAttended == 22 + 23 + 24)
      #expect(f.backend.scoreCalls == 0)
      // top_k is taken as 0: one token past sinks + window is enough to leave the dense path.
      #expect(try selector.votes(f.sequence, q.view).allSatisfy(\.isNaN))
      try f.cache.truncate(f.sequence, to: 24)
      #expect(try selector.attend(f.sequence, q.view).stats.chunksDense == 1)
    }
  }

  @Test(arguments: Method.allCases, Engine.allCases) func aLongRunIsItsChunks(method: Method, on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 100, rope: RoPE(style: .half, rotaryDims: 0))
    let q = Tensor.normal([4, 70, 16], &f.random)
    let options = SelectorOptions(method: method, qHeads: 4, sinks: 4, recent: 16, topK: 12, chunk: 16)
    let whole = try f.selector(options).attend(f.sequence, q.view)
    // The same prompt, appended and attended chunk by chunk, on a cache that has nothing of the future.
    let s = try f.cache.makeSequence()
    try f.cache.append(s, layer: 0, k: f.k.tokens(0, 30), v: f.v.tokens(0, 30))
    let out = Tensor([4, 70, 16])
    let lse = Tensor([4, 70])
    var stats = RetrievalStats()
    let selector = try f.selector(options)
    for first in stride(from: 0, to: 70, by: 16) {
      let n = min(16, 70 - first)
      try f.cache.append(s, layer: 0, k: f.k.tokens(30 + first, n), v: f.v.tokens(30 + first, n))
      try selector.attend(
        s, layer: 0, q: q.tokens(first, n), out: out.tokens(first, n), lse: lse.tokens(first, n), stats: &stats)
    }
    #expect(Array(out.floats) == Array(whole.out.floats))
    #expect(Array(lse.floats) == Array(whole.lse.floats))
    #expect(stats == whole.stats)
    #expect(stats.queries == 70)
    #expect(stats.chunksDense == (method == .dense ? 5 : 0))
  }

  @Test(arguments: Engine.allCases) func chunksOfOneAreTokenByToken(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let q = Tensor.normal([2, 20, 16], &f.random)
    let options = SelectorOptions(sinks: 2, recent: 8, topK: 6, chunk: 1, similarity: 2)
    let whole = try f.selector(options).attend(f.sequence, q.view)
    let s = try f.cache.makeSequence()
    try f.cache.append(s, layer: 0, k: f.k.tokens(0, 40), v: f.v.tokens(0, 40))
    let selector = try f.selector(options)
    for t in 0..<20 {
      try f.cache.append(s, layer: 0, k: f.k.tokens(40 + t, 1), v: f.v.tokens(40 + t, 1))
      let step = try selector.attend(s, q.tokens(t, 1))
      for h in 0..<2 { for i in 0..<16 { #expect(step.out[h, 0, i] == whole.out[h, t, i]) } }
    }
  }

  @Test(arguments: Engine.allCases) func denseWindowIsASlidingWindow(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 50)
    let q = Tensor.normal([2, 6, 16], &f.random)
    let windowed = try f.selector(SelectorOptions(method: .dense, window: 9)).attend(f.sequence, q.view)
    #expect(windowed.stats.tokensAttended == 54)
    #expect(windowed.stats.kvBytesRead == 14 * 2 * 2 * 16 * 4)
    for t in 0..<6 {
      let one = Tensor([2, 1, 16])
      for h in 0..<2 { for i in 0..<16 { one[h, 0, i] = q[h, t, i] } }
      // Only the window's tokens, as the last ones of a shorter text.
      let s = try f.cache.makeSequence()
      try f.cache.append(s, layer: 0, k: f.k.tokens(36 + t, 9), v: f.v.tokens(36 + t, 9))
      let expected = try f.selector(SelectorOptions(method: .dense)).attend(s, one.view)
      for h in 0..<2 { for i in 0..<16 { #expect(abs(expected.out[h, 0, i] - windowed.out[h, t, i]) < 1e-6) } }
    }
  }

  @Test(
    arguments: [
      (DType.f32, DType?.none, 64, 64), (.bf16, nil, 32, 32), (.i8, nil, 20, 20), (.f32, .i8, 64, 20), (.f16, .bf16, 32, 32),
    ], Engine.allCases)
  func statsCountRowsOncePerChunk(rows: (dtype: DType, copy: DType?, row: Int, scoring: Int), on engine: Engine) throws {
    let (dtype, copy, row, scoring) = rows
    var f = try Fixture(on: engine, tokens: 100, dtype: dtype, scoringCopy: copy)
    let q = Tensor.normal([4, 10, 16], &f.random)
    let selector = try f.selector(SelectorOptions(qHeads: 4, sinks: 4, recent: 16, topK: 12, chunk: 8))
    var stats = RetrievalStats()
    let out = Tensor([4, 10, 16])
    for _ in 0..<2 { try selector.attend(f.sequence, layer: 0, q: q.view, out: out.view, lse: nil, stats: &stats) }
    // Chunks of 8 and 2 at 98 and 100 tokens; lists of 32.
    let scored = (98 - 20) + (100 - 20)
    #expect(stats.queries == 20)
    #expect(stats.selections == 4 && stats.chunksDense == 0 && stats.cacheHits == 0)
    #expect(stats.tokensScored == Int64(2 * scored))
    #expect(stats.tokensAttended == Int64(2 * ((25...32).reduce(0, +) + 31 + 32)))
    #expect(stats.kvBytesRead == Int64(2 * (scored * 2 * scoring + 2 * 32 * 2 * 2 * row)))
  }

  @Test(arguments: [DType.f32, .f16, .bf16], Engine.allCases) func queriesOfAnyDtypeAndStride(dtype: DType, on engine: Engine)
    throws
  {
    var f = try Fixture(on: engine, tokens: 80, rope: RoPE(style: .half, rotaryDims: 0))
    let shapes: [[Int]?] = [nil, [16, 64, 1], [3, 6, 18], [-48, -16, 1]]
    let selector = try f.selector(SelectorOptions(qHeads: 2, sinks: 2, recent: 8, topK: 8, chunk: 8))
    let values = Tensor.normal([2, 3, 16], &f.random)
    let dense = Tensor([2, 3, 16], dtype)
    for h in 0..<2 { for t in 0..<3 { for i in 0..<16 { dense[h, t, i] = values[h, t, i] } } }
    let exact = Tensor([2, 3, 16])
    for h in 0..<2 { for t in 0..<3 { for i in 0..<16 { exact[h, t, i] = dense[h, t, i] } } }
    let expected = try selector.attend(f.sequence, exact.view)
    let votes = try selector.votes(f.sequence, exact.view)
    for stride in shapes {
      let memory = Tensor([2, 3, 16], dtype, stride: stride, elements: 400)
      var view = memory.view
      if let stride, stride[0] < 0 { view.data += 200 * dtype.size }
      for h in 0..<2 { for t in 0..<3 { for i in 0..<16 { set(view, h, t, i, exact[h, t, i]) } } }
      #expect(Array(try selector.attend(f.sequence, view).out.floats) == Array(expected.out.floats))
      #expect(try selector.votes(f.sequence, view)[2..<72].elementsEqual(votes[2..<72]))
    }
  }

  @Test(arguments: Engine.allCases) func aListOfTheCallersOwn(on engine: Engine) throws {
    let rope = RoPE(style: .interleaved, rotaryDims: 8)
    var f = try Fixture(on: engine, tokens: 60, rope: rope)
    let q = Tensor.normal([4, 3, 16], &f.random)
    for positions in [AttentionRule.Positions.compact, .natural] {
      let selector = try f.selector(SelectorOptions(qHeads: 4, positions: positions))
      let list: [Int32] = positions == .compact ? [0, 7, 9, 30, 57, 58, 59] : [3, 7, 30, 58]
      let out = Tensor([4, 3, 16])
      var stats = RetrievalStats()
      try list.withUnsafeBufferPointer {
        try selector.attend(f.sequence, layer: 0, q: q.view, tokens: $0, out: out.view, lse: nil, stats: &stats)
      }
      let expected = try oracle(f, q, list: list.map(Int.init), heads: 4, rope: rope, compact: positions == .compact)
      #expect(maxDifference(out, expected) < 1e-5)
      #expect(stats.tokensAttended == (positions == .compact ? 5 + 6 + 7 : 3 + 4 + 4))
      #expect(stats.kvBytesRead == Int64(list.count * 2 * 2 * 64))
      #expect(stats.queries == 3 && stats.selections == 0)
      func refused(_ tokens: [Int32]) -> Bool {
        var unchanged = stats
        let s = status {
          try tokens.withUnsafeBufferPointer {
            try selector.attend(f.sequence, layer: 0, q: q.view, tokens: $0, out: out.view, lse: nil, stats: &unchanged)
          }
        }
        return s == .invalidArgument && unchanged == stats
      }
      #expect(refused([0, 0, 57, 58, 59]))
      #expect(refused([5, 4, 57, 58, 59]))
      #expect(refused([-1, 57, 58, 59]))
      #expect(refused([0, 57, 58, 59, 60]))
      #expect(refused([0, 5, 58, 59]) == (positions == .compact))
      #expect(refused([0, 5]) == (positions == .compact))
      #expect(refused([]) == (positions == .compact))
    }
  }

  @Test(arguments: Engine.allCases) func anEmptyListGivesZeroAndMinusInfinity(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let q = Tensor.normal([2, 1, 16], &f.random)
    let selector = try f.selector(SelectorOptions(positions: .natural))
    let out = Tensor.normal([2, 1, 16], &f.random)
    let lse = Tensor([2, 1])
    var stats = RetrievalStats()
    try selector.attend(
      f.sequence, layer: 0, q: q.view, tokens: UnsafeBufferPointer(start: nil, count: 0), out: out.view, lse: lse.view,
      stats: &stats)
    #expect(out.floats.allSatisfy { $0 == 0 } && lse.floats.allSatisfy { $0 == -.infinity })
  }

  @Test(arguments: Engine.allCases) func aBudgetOfNothingButTheChunk(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let q = Tensor.normal([2, 1, 16], &f.random)
    let selector = try f.selector(SelectorOptions(sinks: 0, recent: 1, topK: 0, chunk: 1))
    let result = try selector.attend(f.sequence, q.view)
    for h in 0..<2 { for i in 0..<16 { #expect(abs(result.out[h, 0, i] - f.v[h, 59, i]) < 1e-6) } }
    #expect(result.stats.selections == 0)
  }

  @Test(arguments: Engine.allCases) func biasReachesTokenZeroOnlyAndIsCopied(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let q = Tensor.normal([2, 1, 16], &f.random)
    let selector = try f.selector(SelectorOptions(sinks: 2, recent: 8, topK: 8, chunk: 8, keyZeroBias: [100, -100]))
    let result = try selector.attend(f.sequence, q.view)
    for i in 0..<16 { #expect(abs(result.out[0, 0, i] - f.v[0, 0, i]) < 1e-5) }
    #expect(abs(result.lse.floats[0] - 100) < 20)
    #expect(abs(result.out[1, 0, 0] - f.v[1, 0, 0]) > 1e-4)
  }

  @Test(arguments: Engine.allCases) func optionsAreChecked(on engine: Engine) throws {
    let f = try Fixture(on: engine, tokens: 10)
    func bad(_ change: (inout SelectorOptions) -> Void) -> Status? {
      var options = SelectorOptions()
      change(&options)
      return status { _ = try f.selector(options) }
    }
    #expect(bad { _ in } == nil)
    #expect(bad { $0.qHeads = 3 } == .invalidArgument)
    #expect(bad { $0.qHeads = -2 } == .invalidArgument)
    #expect(bad { $0.sinks = -1 } == .invalidArgument)
    #expect(bad { $0.topK = -1 } == .invalidArgument)
    #expect(bad { $0.topK = Int.max } == .invalidArgument)
    #expect(bad { $0.recent = 511 } == .invalidArgument)
    #expect(bad { $0.chunk = 0 } == .invalidArgument)
    #expect(bad { $0.pool = 2 } == .invalidArgument)
    #expect(bad { $0.pool = -1 } == .invalidArgument)
    #expect(bad { $0.similarity = .nan } == .invalidArgument)
    #expect(bad { $0.scale = .infinity } == .invalidArgument)
    #expect(bad { $0.scale = -1 } == .invalidArgument)
    #expect(bad { $0.softcap = -1 } == .invalidArgument)
    #expect(bad { $0.window = 4 } == .invalidArgument)
    #expect(bad { ($0.method, $0.window) = (.dense, -4) } == .invalidArgument)
    #expect(bad { $0.keyZeroBias = [1] } == .invalidArgument)
    #expect(bad { ($0.sinks, $0.topK, $0.recent) = (Int(Int32.max), Int(Int32.max), Int(Int32.max)) } == nil)
  }

  @Test(arguments: Engine.allCases) func badInput(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 20)
    let selector = try f.selector(SelectorOptions(qHeads: 4, sinks: 2, recent: 4, topK: 4, chunk: 4))
    let q = Tensor.normal([4, 2, 16], &f.random)
    let out = Tensor([4, 2, 16])
    func attend(_ q: TensorView, _ out: TensorView, lse: TensorView? = nil, id: SequenceID? = nil, layer: Int = 0) -> Status? {
      var stats = RetrievalStats()
      let result = status {
        try selector.attend(id ?? f.sequence, layer: layer, q: q, out: out, lse: lse, stats: &stats)
      }
      if result != nil { #expect(stats == RetrievalStats()) }
      return result
    }
    #expect(attend(q.view, out.view) == nil)
    #expect(attend(q.view, out.view, id: 55) == .notFound)
    #expect(attend(q.view, out.view, layer: 1) == .invalidArgument)
    for shape in [[2, 2, 16], [4, 21, 16], [4, 0, 16], [4, 2, 8], [8, 16]] {
      #expect(attend(Tensor(shape).view, out.view) == .invalidArgument)
    }
    #expect(attend(q.view, Tensor([4, 3, 16]).view) == .invalidArgument)
    #expect(attend(q.view, Tensor([4, 2, 16], .i8).view) == .invalidArgument)
    #expect(attend(Tensor([4, 2, 16], .i32).view, out.view) == .invalidArgument)
    #expect(attend(q.view, out.view, lse: Tensor([4, 3]).view) == .invalidArgument)
    #expect(attend(q.view, out.view, lse: Tensor([4, 2], .f16).view) == .invalidArgument)
    let empty = try f.cache.makeSequence()
    #expect(attend(q.tokens(0, 1), out.tokens(0, 1), id: empty) == .invalidArgument)
    var short = [Int32](repeating: 0, count: 9)
    var few = [Float](repeating: 0, count: 19)
    short.withUnsafeMutableBufferPointer { short in
      #expect(
        status { _ = try selector.retrieve(f.sequence, layer: 0, q: q.view, indices: short, votes: nil) } == .bufferTooSmall)
    }
    few.withUnsafeMutableBufferPointer { few in
      #expect(
        status { _ = try selector.retrieve(f.sequence, layer: 0, q: q.view, indices: nil, votes: few) } == .bufferTooSmall)
    }
    #expect(
      status { _ = try selector.retrieve(f.sequence, layer: 0, q: Tensor([4, 5, 16]).view, indices: nil, votes: nil) }
        == .invalidArgument)
    #expect(try selector.retrieve(f.sequence, layer: 0, q: q.view, indices: nil, votes: nil) == 10)
  }

  @Test(arguments: [Double.nan, .infinity, -.infinity], Engine.allCases) func nonFiniteKeysAndQueries(
    value: Double, on engine: Engine
  ) throws {
    var f = try Fixture(on: engine, tokens: 40)
    f.k[0, 10, 3] = value
    f.k[1, 11, 0] = value
    let s = try f.cache.makeSequence()
    try f.cache.append(s, layer: 0, k: f.k.view, v: f.v.view)
    let selector = try f.selector(SelectorOptions(sinks: 2, recent: 4, topK: 4, chunk: 4))
    let q = Tensor.normal([2, 1, 16], &f.random)
    let list = try selector.retrieve(s, q.view)
    #expect(list.count == 10 && list == list.sorted() && Set(list).count == 10)
    _ = try selector.attend(s, q.view)
    q[0, 0, 0] = value
    #expect(try selector.retrieve(s, q.view).count == 10)
    _ = try selector.attend(s, q.view)
  }
}
