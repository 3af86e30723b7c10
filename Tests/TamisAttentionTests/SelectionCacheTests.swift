@testable import TamisAttention
import Tamis
import Testing

/// Algorithm 1 of TokenSelect (arXiv 2411.02886), test 9 of the method page, and what the page leaves to us: growth,
/// truncation.
@Suite struct SelectionCacheTests {
  private func options(_ similarity: Float) -> SelectorOptions {
    SelectorOptions(sinks: 2, recent: 8, topK: 8, chunk: 8, similarity: similarity)
  }

  /// A query at an angle of the plane of the first two axes, the same for both heads.
  private func query(cosine: Double, length: Double = 3) -> Tensor {
    let q = Tensor([2, 1, 16])
    for h in 0..<2 {
      q[h, 0, 0] = length * cosine
      q[h, 0, 1] = length * (1 - cosine * cosine).squareRoot()
    }
    return q
  }

  @Test(arguments: Engine.allCases) func aboveOneIsOff(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let q = Tensor.normal([2, 1, 16], &f.random)
    for similarity in [Float.infinity, 1.001] {
      let selector = try f.selector(options(similarity))
      for _ in 0..<3 {
        let stats = try selector.attend(f.sequence, q.view).stats
        #expect(stats.cacheHits == 0 && stats.selections == 1)
      }
    }
  }

  @Test(arguments: Engine.allCases) func minusOneFreezesTheFirstSelection(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let selector = try f.selector(options(-1))
    let first = Tensor.normal([2, 1, 16], &f.random)
    _ = try selector.attend(f.sequence, first.view)
    let list = f.backend.lastTokens
    for _ in 0..<5 {
      let q = Tensor.normal([2, 1, 16], &f.random)
      #expect(try selector.attend(f.sequence, q.view).stats.cacheHits == 1)
      #expect(f.backend.lastTokens == list)
    }
    #expect(f.backend.scoreCalls == 1)
  }

  @Test(arguments: Engine.allCases) func repeatedAndScaledQueriesHit(on engine: Engine) throws {
    let f = try Fixture(on: engine, tokens: 60, rope: RoPE(style: .half, rotaryDims: 0))
    let selector = try f.selector(options(0.999))
    _ = try selector.attend(f.sequence, query(cosine: 0.3).view)
    #expect(try selector.attend(f.sequence, query(cosine: 0.3).view).stats.cacheHits == 1)
    #expect(try selector.attend(f.sequence, query(cosine: 0.3, length: 40).view).stats.cacheHits == 1)
    #expect(try selector.attend(f.sequence, query(cosine: -0.3).view).stats.cacheHits == 0)
  }

  @Test(arguments: Engine.allCases) func theCachedQueryIsNotUpdatedOnAHit(on engine: Engine) throws {
    let f = try Fixture(on: engine, tokens: 60)
    let selector = try f.selector(options(0.9))
    // Angles 0, 18, 36 degrees: neighbours have cosine 0.95, the third 0.81 to the first.
    _ = try selector.attend(f.sequence, query(cosine: 1).view)
    #expect(try selector.attend(f.sequence, query(cosine: 0.951).view).stats.cacheHits == 1)
    #expect(try selector.attend(f.sequence, query(cosine: 0.809).view).stats.selections == 1)
    // Now the third is the one to compare with.
    #expect(try selector.attend(f.sequence, query(cosine: 0.951).view).stats.cacheHits == 1)
  }

  @Test(arguments: Engine.allCases) func theWindowMovesOnAndTheCachedTokensStayBeforeIt(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let selector = try f.selector(options(-1))
    let q = Tensor.normal([2, 1, 16], &f.random)
    _ = try selector.attend(f.sequence, q.view)
    let cached = Array(f.backend.lastTokens[2..<10])
    for n in 61...80 {
      let one = Tensor.normal([2, 1, 16], &f.random)
      try f.cache.append(f.sequence, layer: 0, k: one.view, v: one.view)
      #expect(try selector.attend(f.sequence, q.view).stats.cacheHits == 1)
      #expect(f.backend.lastTokens == [0, 1] + cached + (n - 8..<n).map(Int32.init))
    }
  }

  @Test(arguments: Engine.allCases) func truncationResetAndDestructionForget(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let q = Tensor.normal([2, 1, 16], &f.random)
    let selector = try f.selector(options(-1))
    func hits(_ id: SequenceID) throws -> Int64 { try selector.attend(id, q.view).stats.cacheHits }
    #expect(try hits(f.sequence) == 0)
    #expect(try hits(f.sequence) == 1)
    try f.cache.truncate(f.sequence, to: 50)
    #expect(try hits(f.sequence) == 0)
    #expect(try hits(f.sequence) == 1)
    let fork = try f.cache.fork(f.sequence)
    #expect(try hits(fork) == 0)
    #expect(try hits(fork) == 1)
    selector.reset(fork)
    #expect(try hits(fork) == 0)
    #expect(try hits(f.sequence) == 1)
    try f.cache.destroy(fork)
    #expect(try hits(f.sequence) == 1)
    selector.reset(nil)
    #expect(try hits(f.sequence) == 0)
    // Down to dense and up again: what was cached is gone, also when the tokens came back.
    try f.cache.truncate(f.sequence, to: 10)
    #expect(try selector.attend(f.sequence, q.view).stats.chunksDense == 1)
    try f.cache.append(f.sequence, layer: 0, k: f.k.tokens(10, 50), v: f.v.tokens(10, 50))
    #expect(try hits(f.sequence) == 0)
  }

  @Test(arguments: Engine.allCases) func chunksNeitherUseNorFillTheCache(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60)
    let selector = try f.selector(options(-1))
    // 9 queries: a chunk of 8 and one of 1, which is still no decode step.
    let run = Tensor.normal([2, 9, 16], &f.random)
    #expect(try selector.attend(f.sequence, run.view).stats.selections == 2)
    #expect(try selector.attend(f.sequence, run.tokens(8, 1)).stats.cacheHits == 0)
    #expect(try selector.attend(f.sequence, run.tokens(0, 2)).stats.cacheHits == 0)
    #expect(try selector.attend(f.sequence, run.tokens(0, 1)).stats.cacheHits == 1)
    // The selection alone is computed afresh and leaves the cache as it was.
    let calls = f.backend.scoreCalls
    _ = try selector.retrieve(f.sequence, run.tokens(3, 1))
    #expect(f.backend.scoreCalls == calls + 1)
    #expect(try selector.attend(f.sequence, run.tokens(0, 1)).stats.cacheHits == 1)
  }

  @Test(arguments: Engine.allCases) func layersAndSequencesHaveTheirOwn(on engine: Engine) throws {
    var f = try Fixture(on: engine, tokens: 60, layers: 2)
    let selector = try f.selector(options(-1))
    let q = Tensor.normal([2, 1, 16], &f.random)
    #expect(try selector.attend(f.sequence, q.view, layer: 0).stats.cacheHits == 0)
    #expect(try selector.attend(f.sequence, q.view, layer: 1).stats.cacheHits == 0)
    #expect(try selector.attend(f.sequence, q.view, layer: 0).stats.cacheHits == 1)
    #expect(try selector.attend(f.sequence, q.view, layer: 1).stats.cacheHits == 1)
  }

  @Test(arguments: [Double.nan, 0], Engine.allCases) func aQueryWithoutDirectionMisses(value: Double, on engine: Engine) throws
  {
    let f = try Fixture(on: engine, tokens: 60)
    let selector = try f.selector(options(-1))
    let q = Tensor([2, 1, 16])
    for h in 0..<2 { for i in 0..<16 { q[h, 0, i] = value } }
    for _ in 0..<2 { #expect(try selector.attend(f.sequence, q.view).stats.selections == 1) }
  }
}
