import Glibc
import Tamis
import Testing

@testable import TamisAttention

/// The pieces that sparse prefill methods share, against plain loops in Double.
@Suite struct SparseSelectorTests {
  private let backend = ReferenceBackend()

  // MARK: water-filling

  @Test func pouringKeepsTheTotal() {
    var random = Random(3)
    for _ in 0..<500 {
      let n = Int.random(in: 1...40, using: &random)
      let floors = (0..<n).map { _ in Int.random(in: 0...5, using: &random) }
      let ceilings = floors.map { $0 + Int.random(in: 0...9, using: &random) }
      let room = zip(floors, ceilings).reduce(0) { $0 + $1.1 - $1.0 }
      let units = Int.random(in: 0...room, using: &random)
      let weights = (0..<n).map { _ in Double.random(in: 0.01...3, using: &random) }
      let rows = RowBudgets.pour(units, floors: floors, ceilings: ceilings, weights: weights)
      #expect(rows.reduce(0, +) == floors.reduce(0, +) + units)
      for i in 0..<n { #expect(rows[i] >= floors[i] && rows[i] <= ceilings[i]) }
    }
  }

  @Test func pouringByHand() {
    // Shares 1, 2, 3 of 12 fit as they are.
    #expect(RowBudgets.pour(12, floors: [1, 1, 1], ceilings: [20, 20, 20], weights: [1, 2, 3]) == [3, 5, 7])
    // The last is full at 2; the 4 it cannot take go to the others, 1 to 2.
    #expect(RowBudgets.pour(12, floors: [0, 0, 0], ceilings: [20, 20, 3], weights: [1, 2, 3]) == [3, 6, 3])
    // 1/3 each: whole units by the largest remainder, then by the lower row.
    #expect(RowBudgets.pour(4, floors: [0, 0, 0], ceilings: [9, 9, 9], weights: [1, 1, 1]) == [2, 1, 1])
    // A chain of full rows longer than the rounds.
    let steps = Array(1...20)
    #expect(RowBudgets.pour(210, floors: .init(repeating: 0, count: 20), ceilings: steps, weights: steps.map { _ in 1 }) == steps)
    #expect(RowBudgets.pour(0, floors: [2, 3], ceilings: [9, 9], weights: [1, 1]) == [2, 3])
  }

  @Test func rowBudgetsKeepTheSumOfEqualOnes() throws {
    var random = Random(4)
    for (lower, upper) in [(0.5, 2.0), (0.875, 1.25), (1, 1), (0, 8)] as [(Float, Float)] {
      let budgets = try RowBudgets(lower: lower, upper: upper)
      for budget in [1, 2, 7, 32] {
        let available = (1...50).map { 2 * $0 }
        let forced = available.map { min($0, 3, budget) }
        let priorities = available.map { _ in random.normal() * 3 }
        let rows = budgets.tiles(available: available, forced: forced, budget: budget, priorities: priorities)
        #expect(rows.reduce(0, +) == available.reduce(0) { $0 + min($1, budget) })
        for i in rows.indices {
          if available[i] <= budget { #expect(rows[i] == available[i]) } else {
            #expect(rows[i] >= max(forced[i], max(1, Int(lower * Float(budget)))) && rows[i] <= available[i])
            #expect(rows[i] <= max(budget, Int((upper * Float(budget)).rounded(.up))))
          }
        }
      }
    }
    #expect(status { _ = try RowBudgets(lower: -0.1, upper: 2) } == .invalidArgument)
    #expect(status { _ = try RowBudgets(lower: 0.5, upper: 0.9) } == .invalidArgument)
    #expect(status { _ = try RowBudgets(lower: .nan, upper: 2) } == .invalidArgument)
  }

  // MARK: means

  @Test func blockMeans() throws {
    var random = Random(5)
    for (dtype, tolerance) in [(DType.f32, 1e-6), (.f16, 1e-6), (.bf16, 1e-6), (.i8, 1e-6)] as [(DType, Double)] {
      for (n, rows) in [(1, 32), (31, 32), (100, 32), (700, 64), (130, 8)] {
        let (heads, d) = (2, 24)
        let x = Tensor([heads, n, d], dtype)
        for h in 0..<heads { for t in 0..<n { for i in 0..<d { put(x.view, h, t, i, (random.normal() * 30).rounded()) } } }
        let means = try BlockMeans(x.view, rows: rows, on: backend)
        #expect(means.blocks == (n + rows - 1) / rows)
        for h in 0..<heads {
          for b in 0..<means.blocks {
            let block = b * rows..<min((b + 1) * rows, n)
            for i in 0..<d {
              let mean = block.reduce(0.0) { $0 + get(x.view, h, $1, i) } / Double(block.count)
              #expect(abs(Double(means.mean(h, b)[i]) - mean) <= tolerance * max(1, abs(mean)) * 4)
            }
          }
        }
        let one = try BlockMeans(overHeadsOf: means)
        let wanted = (Double(means.mean(0, 0)[3]) + Double(means.mean(1, 0)[3])) / 2
        #expect(abs(Double(one.mean(0, 0)[3]) - wanted) < 1e-5)
        let total = try means.totalMeans(of: n)
        let all = (0..<n).reduce(0.0) { $0 + get(x.view, 1, $1, 5) } / Double(n)
        #expect(abs(Double(total.start[d + 5]) - all) < 1e-4)
      }
    }
  }

  private func put(_ x: TensorView, _ h: Int, _ t: Int, _ i: Int, _ value: Double) {
    if x.dtype != .i8 { return set(x, h, t, i, value) }
    x.row(h, t).storeBytes(of: Int8(max(-127, min(127, value))), toByteOffset: i, as: Int8.self)
  }

  // MARK: last queries

  @Test(arguments: [0, 90]) func lastQueries(window: Int) throws {
    var random = Random(6)
    let (q, k) = (Tensor.normal([4, 120, 16], &random), Tensor.normal([2, 700, 16], &random))
    var rule = AttentionRule(scale: 0.4)
    rule.window = window
    rule.softcap = 3
    let input = SparseInput(q: q.view, k: k.view, rule: rule, mask: DenseMask(causal: true, queryOffset: 580))
    for rows in [Array(90..<120), Array(40..<120), [3, 50, 51, 90, 119]] {
      let last = try LastQueries(input, rows: rows, heads: [1, 2], on: backend)
      #expect(last.keys == 700 && last.span == 580 + rows.last! + 1)
      for h in [1, 2] {
        var columns = [Double](repeating: 0, count: 700)
        var slashes = [Double](repeating: 0, count: last.span)
        for i in rows {
          let legal = input.legal(i)
          let z = legal.map { t -> Double in
            let dot = (0..<16).reduce(0.0) { $0 + q[h, i, $1] * k[h / 2, t, $1] }
            return 3 * tanh(Double(Float(0.4)) * dot / 3)
          }
          let sum = z.reduce(0) { $0 + exp($1) }
          for (t, logit) in zip(legal, z) {
            columns[t] += exp(logit) / sum
            slashes[580 + i - t] += exp(logit) / sum
          }
        }
        for t in 0..<700 { #expect(abs(Double(last.columns(h)[t]) - columns[t]) < 1e-5) }
        for s in 0..<last.span { #expect(abs(Double(last.slashes(h)[s]) - slashes[s]) < 1e-5) }
      }
    }
  }

  // MARK: lists

  @Test func mergedLists() {
    #expect(merged([1, 4, 9], [0, 4, 5]) == [0, 1, 4, 5, 9])
    #expect(merged([], [2]) == [2] && merged([2], []) == [2] && merged([], []) == [])
  }

  @Test func rowsOfBlocks() {
    let (q, k) = (Tensor([1, 70, 8]), Tensor([1, 200, 8]))
    func rows(_ offset: Int, _ window: Int = 0) -> [BlockRow] {
      var rule = AttentionRule(scale: 1)
      rule.window = window
      let input = SparseInput(q: q.view, k: k.view, rule: rule, mask: DenseMask(causal: true, queryOffset: offset))
      return (0..<3).map { input.row($0, queryBlock: 32, keyBlock: 16) }
    }
    // The last queries stand at the last keys: tokens 130 to 161, 162 to 193, 194 to 199.
    #expect(rows(130).map(\.tiles) == [0..<11, 0..<13, 0..<13])
    #expect(rows(130).map(\.diagonal) == [8..<11, 10..<13, 12..<13])
    #expect(rows(130, 40).map(\.tiles) == [5..<11, 7..<13, 9..<13])
    // Half the first block stands before the first key.
    #expect(rows(-16).map(\.tiles) == [0..<1, 0..<3, 0..<4])
    #expect(rows(-70).map(\.tiles) == [0..<0, 0..<0, 0..<0])
    #expect(rows(500, 100).map(\.tiles) == [0..<0, 0..<0, 0..<0])
  }

  @Test func shares() {
    #expect(tileBudget(0.125, of: 256) == 32 && tileBudget(0.7, of: 10) == 7 && tileBudget(0.29, of: 100) == 29)
    #expect(tileBudget(0.001, of: 100) == 1 && tileBudget(1, of: 100) == 100 && tileBudget(0.999, of: 100) == 99)
  }
}
