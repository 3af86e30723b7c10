import Tamis
import Testing

@Suite struct PromptAttentionTests {
  /// Mean over heads of the softmax mass on the prompt, by plain loops in f64.
  static func oracle(_ q: [Float], _ k: [Float], heads: Int, group: Int, n: Int, d: Int, prompt: [Bool], t: Int) -> Double {
    var mass = 0.0
    for h in 0..<heads {
      var z = [Double](repeating: 0, count: t + 1)
      for j in 0...t {
        for i in 0..<d { z[j] += Double(q[(h * n + t) * d + i]) * Double(k[(h / group * n + j) * d + i]) }
        z[j] /= Double(d).squareRoot()
      }
      let top = z.max()!
      let p = z.map { expOf($0 - top) }
      var inside = 0.0
      for j in 0...t where prompt[j] { inside += p[j] }
      mass += inside / p.reduce(0, +)
    }
    return mass / Double(heads)
  }

  /// e^x for x <= 0, by halving and the series.
  static func expOf(_ x: Double) -> Double {
    if x < -700 { return 0 }
    let small = x / 1024
    var (sum, term) = (1.0, 1.0)
    for i in 1..<20 {
      term *= small / Double(i)
      sum += term
    }
    for _ in 0..<10 { sum *= sum }
    return sum
  }

  @Test(arguments: [1, 65, 1100]) func massOnThePrompt(_ n: Int) throws {
    let (heads, group, d) = (4, 2, 16)
    var random = SeededRandom(seed: UInt64(n))
    var q = (0..<heads * n * d).map { _ in Float(random.unit() * 4 - 2) }
    var k = (0..<heads / group * n * d).map { _ in Float(random.unit() * 4 - 2) }
    let flags = (0..<n).map { _ in UInt8(random.below(2)) }
    let context = try Context(threads: 2)
    var rule = AttentionRule(scale: 1 / Float(d).squareRoot())
    rule.window = 0
    let mask = DenseMask(causal: true, queryOffset: 0)
    let found = try q.withUnsafeMutableBytes { q in
      try k.withUnsafeMutableBytes { k in
        try flags.withUnsafeBufferPointer { flags in
          try PromptAttention.mass(
            context, q: TensorView(q.baseAddress!, .f32, shape: [heads, n, d]),
            k: TensorView(k.baseAddress!, .f32, shape: [heads / group, n, d]), prompt: flags, prompts: .mask, rule: rule,
            mask: mask, progress: nil)
        }
      }
    }
    for t in Set([0, n / 2, n - 1, min(n - 1, 1024)]) {
      let wanted = Self.oracle(q, k, heads: heads, group: group, n: n, d: d, prompt: flags.map { $0 == 1 }, t: t)
      #expect((found[t] - wanted).magnitude < 2e-6)
    }
  }

  @Test func aCancelledCallSaysSo() throws {
    var q = [Float](repeating: 0, count: 8 * 2048), k = q
    let flags = [UInt8](repeating: 1, count: 2048)
    let context = try Context()
    do {
      try q.withUnsafeMutableBytes { q in
        try k.withUnsafeMutableBytes { k in
          try flags.withUnsafeBufferPointer { flags in
            _ = try PromptAttention.mass(
              context, q: TensorView(q.baseAddress!, .f32, shape: [1, 2048, 8]),
              k: TensorView(k.baseAddress!, .f32, shape: [1, 2048, 8]), prompt: flags, prompts: .mask,
              rule: AttentionRule(scale: 1), mask: DenseMask(causal: true, queryOffset: 0), progress: { _ in false })
          }
        }
      }
      Issue.record("expected an error")
    } catch {
      #expect((error as? TamisError)?.status == .cancelled)
    }
  }
}
