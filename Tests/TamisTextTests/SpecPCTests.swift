import TamisCore
import TamisDevice
import Testing

@testable import TamisText

#if canImport(Glibc)
import Glibc
#endif

/// Random softmax rows [heads][w][n], causal at the end of n tokens.
private func attentionRows(_ heads: Int, _ w: Int, _ n: Int, _ random: inout SeededRandom) -> [Float] {
  var rows: [Float] = []
  for _ in 0..<heads {
    for i in 0..<w {
      let z = (0..<n).map { $0 <= n - w + i ? exp(random.unit() * 6) : 0 }
      let sum = z.reduce(0, +)
      rows += z.map { Float($0 / sum) }
    }
  }
  return rows
}

private func add(_ specpc: SpecPC, layer: Int, _ rows: [Float], _ shape: [Int]) throws {
  var rows = rows
  try rows.withUnsafeMutableBytes { try specpc.add(layer: layer, rows: TensorView($0.baseAddress!, .f32, shape: shape)) }
}

/// Steps 4 to 7 written out with lists, as the paper's code has them.
private func oracle(_ s: [Double], window: Int, _ b: SpecPCBudget) -> [Int32] {
  let n = s.count
  let left = (b.kernel - 1) / 2
  var padded = [Double](repeating: 0, count: left) + s
  padded += [Double](repeating: 0, count: b.kernel - 1 - left)
  let smooth: [Double] = (0..<n).map { j in
    let part = padded[j..<j + b.kernel]
    switch b.smoothing {
    case .max: return part.max()!
    case .mean: return part.reduce(0, +) / Double(b.kernel)
    case .none: return s[j]
    }
  }
  var ind = Array(0..<n)
  if b.capacity < n {
    ind = Array(ind.sorted { smooth[$0] != smooth[$1] ? smooth[$0] > smooth[$1] : $0 < $1 }.prefix(b.capacity))
  }
  let m = b.neighbours ?? b.kernel
  if m > 0 {
    var offsets = Array(-((m - 1) / 2)...(m - 1 - (m - 1) / 2))
    offsets.sort { abs($0) != abs($1) ? abs($0) < abs($1) : $0 < $1 }
    ind = ind.flatMap { i in offsets.map { min(max(i + $0, 0), n - 1) } }
  }
  var list: [Int] = []
  for i in Array(n - window..<n) + ind where !list.contains(i) { list.append(i) }
  return list.prefix(b.capacity).sorted().map { Int32($0) }
}

@Suite struct SpecPCTests {
  @Test(arguments: [SpecPC.Reduction.max, .sum], [true, false])
  func scoresAgainstLoops(_ reduction: SpecPC.Reduction, _ weighted: Bool) throws {
    var random = SeededRandom(seed: 11)
    let (heads, w, n) = (3, 4, 29)
    var options = SpecPC.Options()
    (options.window, options.startingLayer, options.reduction, options.weightedQuery) = (w, 2, reduction, weighted)
    let specpc = try SpecPC(options, tokens: n)
    var expected = [Double](repeating: reduction == .max ? -.infinity : 0, count: n)
    for layer in 0..<5 {
      let rows = attentionRows(heads, w, n, &random)
      try add(specpc, layer: layer, rows, [heads, w, n])
      if layer < 2 { continue }
      for h in 0..<heads {
        for i in 0..<w {
          for j in 0..<n {
            let a = Double(rows[(h * w + i) * n + j]) * (weighted ? Double(i) / Double(w - 1) : 1)
            expected[j] = reduction == .max ? max(expected[j], a) : expected[j] + a
          }
        }
      }
    }
    // A lookahead step sees two generated keys, which do not count, and is not weighted.
    let step = attentionRows(heads, 1, n + 2, &random)
    try add(specpc, layer: 3, step, [heads, 1, n + 2])
    for h in 0..<heads {
      for j in 0..<n {
        let a = Double(step[h * (n + 2) + j])
        expected[j] = reduction == .max ? max(expected[j], a) : expected[j] + a
      }
    }
    for (a, b) in zip(try specpc.scores(), expected) { #expect(abs(Double(a) - b) < 1e-6) }
  }

  @Test func selectionAgainstLists() {
    var random = SeededRandom(seed: 5)
    for round in 0..<300 {
      let n = 1 + random.below(60)
      let window = 1 + random.below(n)
      var budget = SpecPCBudget()
      budget.capacity = random.below(n + 5)
      budget.kernel = 1 + random.below(9)
      budget.neighbours = [nil, 0, 1, 2, 5, 40][random.below(6)]
      budget.smoothing = [.max, .mean, .none][random.below(3)]
      // eighths, so that ties are common and sums exact
      let s = (0..<n).map { _ in Double(random.below(6)) / 8 }
      let found = budget.select(s.map { Float($0) }, window: window)
      #expect(found == oracle(s, window: window, budget), "round \(round)")
      #expect(found.count == min(budget.capacity, n) || budget.neighbours == 0 || budget.capacity < n)
    }
  }

  /// With uniform attention the window stays, and the lowest indices win the ties.
  @Test func uniformAttention() {
    var budget = SpecPCBudget()
    (budget.capacity, budget.neighbours, budget.kernel, budget.smoothing) = (20, 0, 1, .none)
    let kept = budget.select([Float](repeating: 0.01, count: 100), window: 8)
    #expect(kept == (0..<12).map { Int32($0) } + (92..<100).map { Int32($0) })
  }

  @Test func aCapacityForAllIsTheIdentity() {
    var budget = SpecPCBudget()
    for capacity in [10, 11, 1000] {
      budget.capacity = capacity
      #expect(budget.select([Float](repeating: .nan, count: 10), window: 1) == (0..<10).map { Int32($0) })
    }
    budget.capacity = 0
    #expect(budget.select([1, 2, 3], window: 1) == [])
  }

  @Test func nanIsTheLeast() {
    var budget = SpecPCBudget()
    (budget.capacity, budget.neighbours, budget.smoothing) = (3, 0, .none)
    #expect(budget.select([.nan, 1, -.infinity, 2, 3, .nan], window: 1) == [3, 4, 5])
  }

  @Test func rowsFromQueriesAndKeys() throws {
    var random = SeededRandom(seed: 2)
    let (heads, kvHeads, w, n, d) = (4, 2, 11, 45, 16)
    func noise(_ count: Int) -> [Float] { (0..<count).map { _ in Float(random.unit() * 4 - 2) } }
    var q = noise(heads * w * d)
    var k = noise(kvHeads * n * d)
    var rows: [Float] = []
    for h in 0..<heads {
      for i in 0..<w {
        let z = (0..<n).map { j -> Double in
          if j > n - w + i { return 0 }
          let dot = (0..<d).reduce(0.0) { $0 + Double(q[(h * w + i) * d + $1]) * Double(k[((h / 2) * n + j) * d + $1]) }
          return exp(dot / 4)
        }
        rows += z.map { Float($0 / z.reduce(0, +)) }
      }
    }
    for reduction in [SpecPC.Reduction.max, .sum] {
      var options = SpecPC.Options()
      (options.window, options.startingLayer, options.reduction) = (w, 0, reduction)
      let given = try SpecPC(options, tokens: n)
      try add(given, layer: 0, rows, [heads, w, n])
      var scores: [[Float]] = []
      for threads in [1, 3] {
        let context = try Context(threads: threads)
        let computed = try SpecPC(options, tokens: n)
        try q.withUnsafeMutableBytes { q in
          try k.withUnsafeMutableBytes { k in
            try computed.add(
              layer: 0, q: TensorView(q.baseAddress!, .f32, shape: [heads, w, d]),
              k: TensorView(k.baseAddress!, .f32, shape: [kvHeads, n, d]), scale: 0, context: context)
          }
        }
        scores.append(try computed.scores())
      }
      #expect(scores[0] == scores[1])
      for (a, b) in zip(scores[0], try given.scores()) { #expect(abs(a - b) < 2e-5) }
    }
  }

  @Test func badInput() throws {
    var options = SpecPC.Options()
    options.window = 8
    #expect(throws: TamisError.self) { try SpecPC(options, tokens: 7) }
    options.window = 0
    #expect(throws: TamisError.self) { try SpecPC(options, tokens: 7) }
    (options.window, options.startingLayer) = (2, 1)
    options.budget.kernel = 0
    #expect(throws: TamisError.self) { try SpecPC(options, tokens: 7) }
    options.budget.kernel = 3
    let specpc = try SpecPC(options, tokens: 7)
    #expect(throws: TamisError.self) { try specpc.scores() }
    try add(specpc, layer: 0, [Float](repeating: 0, count: 14), [1, 2, 7])
    #expect(throws: TamisError.self) { try specpc.select() }
    for shape in [[1, 3, 7], [1, 2, 8], [1, 2, 6], [1, 1, 6]] {
      #expect(throws: TamisError.self) { try add(specpc, layer: 1, [Float](repeating: 0, count: 64), shape) }
    }
    try add(specpc, layer: 1, [Float](repeating: .nan, count: 14), [1, 2, 7])
    #expect(try specpc.scores().allSatisfy { $0 == -.infinity })
    #expect(try specpc.select().count == 7)
  }
}
