import TamisCore
import TamisDevice
import Testing

@testable import TamisMetrics

@Suite struct SignalsTests {
  /// Calls `body` with memory that holds the numbers.
  static func with<A, B, R>(
    _ a: [A], _ b: [B], _ body: (UnsafeBufferPointer<A>, UnsafeBufferPointer<B>) throws -> R
  ) rethrows -> R {
    try a.withUnsafeBufferPointer { a in try b.withUnsafeBufferPointer { try body(a, $0) } }
  }

  @Test func selectionIsThatOfASort() throws {
    var random = SeededRandom(seed: 5)
    for n in [1, 2, 7, 40, 333] {
      let scores = (0..<n).map { _ in Double(random.below(9)) }
      let labels = (0..<n).map { _ in random.below(3) == 0 ? SSToken.noLabel : Int64(random.below(50)) }
      let responses = (0..<n).filter { labels[$0] != SSToken.noLabel }
      for ratio in [0, 0.2, 0.5, 0.99, 1] {
        let k = Int((Double(responses.count) * ratio).rounded(.up))
        let best = Set(responses.sorted { (-scores[$0], $0) < (-scores[$1], $1) }.prefix(k))
        let found = try Self.with(scores, labels) { try SSToken.select(scores: $0, labels: $1, tokens: n, ratio: ratio) }
        #expect(found.labels == (0..<n).map { best.contains($0) ? labels[$0] : SSToken.noLabel })
        #expect(found.kept == [Int64(k)])
      }
    }
  }

  @Test func largestOfManyIsAPrefixOfTheSort() {
    var random = SeededRandom(seed: 6)
    for n in [1, 2, 3, 10, 500] {
      let values = (0..<n).map { _ in random.below(12) == 0 ? Double.nan : Double(random.below(20)) }
      let order = (0..<n).sorted {
        let (a, b) = (values[$0].isNaN ? -1 : values[$0], values[$1].isNaN ? -1 : values[$1])
        return (-a, $0) < (-b, $1)
      }
      for k in [0, 1, 2, n / 2, n, n + 3] {
        #expect(largest(k, of: n) { values[$0] } == Array(order.prefix(k)))
      }
    }
  }

  @Test func rankCorrelation() {
    #expect(KeyClusters.spearman([5, 4, 3, 1]) == -1)
    #expect(KeyClusters.spearman([1, 2, 3]) == 1)
    #expect(KeyClusters.spearman([2, 2, 2]) == 0)
    #expect(KeyClusters.spearman([7]) == 0)
    // Ranks 0, 1.5, 1.5, 3 against 0 1 2 3: cov 4.5, 4.5 * 5 below the root.
    #expect((KeyClusters.spearman([1, 2, 2, 3]) - 4.5 / (4.5 * 5).squareRoot()).magnitude < 1e-15)
  }

  @Test func signsOfSmallNumbers() {
    #expect(sigmoid(800) == 1 && sigmoid(-800) == 0 && sigmoid(0) == 0.5)
    #expect(minusLogSigmoid(-1e6) == 1e6 && minusLogSigmoid(1e6) == 0)
  }

  @Test(arguments: [1, 2, 5]) func theSameBitsForAnyNumberOfThreads(_ threads: Int) throws {
    let (rows, vocabulary, d) = (7, 9001, 12)
    var random = SeededRandom(seed: 7)
    var logits = (0..<rows * vocabulary).map { _ in Float(random.unit() * 8) }
    var keys = (0..<600 * d).map { _ in Float(random.unit() - 0.5) }
    let (one, many) = (try Context(threads: 1), try Context(threads: threads))
    try logits.withUnsafeMutableBytes { bytes in
      let view = TensorView(bytes.baseAddress!, .f32, shape: [rows, vocabulary])
      let a = try TextTargets.ofModel(logits: view, rows: nil, excluded: nil, k: 32, context: one)
      let b = try TextTargets.ofModel(logits: view, rows: nil, excluded: nil, k: 32, context: many)
      #expect(a.tokens == b.tokens && a.q == b.q && a.mean == b.mean)
      #expect((a.q.reduce(0, +) - 1).magnitude < 1e-14 && a.tokens == a.tokens.sorted())
    }
    try keys.withUnsafeMutableBytes { bytes in
      let view = TensorView(bytes.baseAddress!, .f32, shape: [600, d])
      let ids = (0..<40).map { Int32($0 * 7) }
      try ids.withUnsafeBufferPointer { ids in
        let a = try KeyClusters.neighbors(keys: view, of: ids, m: 5, context: one)
        let b = try KeyClusters.neighbors(keys: view, of: ids, m: 5, context: many)
        #expect(a.tokens == b.tokens && a.cosines == b.cosines)
      }
    }
  }

  @Test func schedules() throws {
    let budgets = TokenBudgets()
    #expect(try budgets.budget(step: 0) == 800 && budgets.budget(step: 1000) == 160)
    #expect(try budgets.probabilities(step: 500).map { ($0 * 1e6).rounded() } == [350000, 300000, 350000])
    var caft = MultiTokenLoss()
    (caft.step, caft.steps) = (0, 10)
    #expect(caft.share == 1)
    caft.schedule = .sine
    #expect(caft.share == 0)
    caft.step = 11
    #expect(throws: TamisError.self) { try caft.validate() }
  }

  @Test func errorsNameTheArgument() {
    let bad: [Double] = [0, .nan]
    func message(_ body: () throws -> Void) -> String {
      do { try body() } catch { return (error as? TamisError)?.message ?? "" }
      return ""
    }
    let labels: [Int64] = [1, 2]
    #expect(
      message { _ = try Self.with(bad, labels) { try SSToken.select(scores: $0, labels: $1, tokens: 2, ratio: 1) } }
        .hasPrefix("scores[1] is nan"))
    #expect(
      message { _ = try Self.with(bad, bad) { try TokenRewards.rewards(better: $0, worse: $1) } }
        .hasPrefix("better[1] is nan"))
    let classes: [UInt8] = [0, 9]
    #expect(
      message { _ = try Self.with(bad, classes) { try ToolCallWeights.loss(ce: $0, classes: $1) } }
        .hasPrefix("classes[1] is 9"))
  }
}
