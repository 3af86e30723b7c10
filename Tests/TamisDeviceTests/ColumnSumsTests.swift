import CShims
import Testing

@testable import TamisCore
@testable import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// Column sums of attention weights, attention over listed rows of tensors, and biases of 0, at every instruction-set level.
@Suite struct ColumnSumsTests {
  static let dtypes: [DType] = [.f32, .f16, .bf16, .i8]

  struct Rules: Sendable, CustomStringConvertible {
    var name: String
    var causal = true
    var offset: Int?
    var window = 0
    var scale: Float = 0.3
    var softcap: Float = 0
    var hasBias = false
    var description: String { name }
  }

  static let rules = [
    Rules(name: "causal"), Rules(name: "all keys", causal: false), Rules(name: "window", window: 9),
    Rules(name: "rows without keys", offset: -5), Rules(name: "rows past the keys", offset: 400),
    Rules(name: "cap", scale: 1, softcap: 1.5), Rules(name: "bias", hasBias: true), Rules(name: "tiny scale", scale: 1e-30),
    Rules(name: "all", offset: 3, window: 21, scale: 0.7, softcap: 2, hasBias: true),
  ]

  // MARK: the kernel

  @Test(arguments: Kernels.available) func kernel(_ level: Kernels.Level) {
    let kernels = Kernels.table(level).pointee.prefill
    var noise = Noise(5)
    for n in [1, 2, 7, 33, 256] {
      for (softcap, biased) in [(Float(0), false), (2, false), (0, true), (3, true)] {
        let s = UnsafeMutablePointer<Float>.allocate(capacity: n * 32)
        defer { s.deallocate() }
        var (lo, hi) = ([Int32](repeating: 0, count: 32), [Int32](repeating: 0, count: 32))
        var (lse, bias) = ([Float](repeating: 0, count: 32), [Float](repeating: 0, count: 32))
        let key0 = biased ? 0 : 40
        for lane in 0..<32 {
          (lo[lane], hi[lane]) = (Int32(key0 + noise.below(4)), Int32(key0 + n - noise.below(3)))
          lse[lane] = noise.normal() + 3
          bias[lane] = noise.normal()
        }
        (lse[3], hi[3]) = (-.infinity, 0)  // sees no key
        lse[5] = .nan
        for i in 0..<n * 32 { s[i] = noise.normal() }
        var want = [Double](repeating: 0.25, count: n)
        var sums = want
        let scale: Float = 0.6
        for t in 0..<n {
          for lane in 0..<32 where Int32(key0 + t) >= lo[lane] && Int32(key0 + t) < hi[lane] && !lse[lane].isNaN {
            var z = Double(s[t * 32 + lane]) * Double(scale) * 0.693147180559945  // nats
            if softcap > 0 { z = Double(softcap) * tanh(z / Double(softcap)) }
            if key0 + t == 0 { z += Double(bias[lane]) }
            want[t] += exp(z - Double(lse[lane]) * 0.693147180559945)
          }
        }
        kernels.column_sums(s, n, Int32(key0), lo, hi, scale, softcap, biased ? bias : nil, lse, &sums)
        for t in 0..<n { #expect(abs(sums[t] - want[t]) < 1e-5 * max(1, want[t]), "\(level) n \(n) cap \(softcap) key \(t)") }
      }
    }
  }

  // MARK: the operation

  /// Sums of the weights of heads, by plain loops.
  static func oracle(_ q: Tensor, _ k: Tensor, _ rules: Rules, _ bias: [Float], head h: Int) -> [Double] {
    let (c, n, group) = (q.shape[1], k.shape[1], q.shape[0] / k.shape[0])
    let offset = rules.offset ?? n - c
    var sums = [Double](repeating: 0, count: n)
    let keys = (0..<n).map { k.row(h / group, $0) }
    for i in 0..<c {
      let legal = (0..<n).filter { (!rules.causal || $0 <= offset + i) && (rules.window == 0 || $0 > offset + i - rules.window) }
      let query = q.row(h, i)
      let z = legal.map { j in
        var z = Double(rules.scale) * dot(query, keys[j])
        if rules.softcap > 0 { z = Double(rules.softcap) * tanh(z / Double(rules.softcap)) }
        return j == 0 && rules.hasBias ? z + Double(bias[h]) : z
      }
      let top = z.max() ?? 0
      let total = z.reduce(0) { $0 + exp($1 - top) }
      for (at, j) in legal.enumerated() { sums[j] += exp(z[at] - top) / total }
    }
    return sums
  }

  static func run(
    _ level: Kernels.Level, _ rules: Rules, q: Tensor, k: Tensor, heads: [Int], threads: Int = 2, f32: Bool = false
  ) throws -> (sums: [[Double]], lse: [Float]) {
    let backend = try CPUBackend(threads: threads, level: level)
    let (c, n) = (q.shape[1], k.shape[1])
    let bias: [Float] = (0..<q.shape[0]).map { Float($0) - 1.5 }
    var sums = [Double](repeating: 0.5, count: heads.count * (n + 3))
    var lse = [Float](repeating: 0, count: q.shape[0] * c)
    let out = Tensor(zeros: q.shape[0], c, q.shape[2])
    try bias.withUnsafeBufferPointer { bias in
      var rule = AttentionRule(scale: rules.scale)
      (rule.softcap, rule.window) = (rules.softcap, rules.window)
      if rules.hasBias { rule.keyZeroBias = bias.baseAddress }
      let mask = DenseMask(causal: rules.causal, queryOffset: rules.offset ?? n - c, f32Products: f32)
      try lse.withUnsafeMutableBufferPointer { lse in
        let view = TensorView(lse.baseAddress!, .f32, shape: [q.shape[0], c])
        try backend.attend(q: q.view, k: k.view, v: k.view, rule: rule, mask: mask, out: out.view, lse: view, progress: nil)
        try backend.addColumnSums(
          q: q.view, k: k.view, rule: rule, mask: mask, lse: view, heads: heads, to: &sums, stride: n + 3, progress: nil)
      }
    }
    return (heads.indices.map { at in Array(sums[at * (n + 3)..<at * (n + 3) + n + 3]) }, lse)
  }

  static func check(_ level: Kernels.Level, _ rules: Rules, _ dtype: DType, qType: DType = .f32, c: Int, n: Int, d: Int, group: Int) throws {
    var noise = Noise(UInt64(c * 1000 + n))
    let q = Tensor(noise.normals(2 * group * c * d), 2 * group, c, d, qType, gap: qType == .f32 ? 8 : 0)
    let k = Tensor(noise.normals(2 * n * d), 2, n, d, dtype, gap: 8)
    let bias: [Float] = (0..<2 * group).map { Float($0) - 1.5 }
    let heads = group == 1 ? [1] : [0, group, 2 * group - 1]
    // Where log-sum-exps come from products of bf16 pairs, or queries of 16 bits over int8 keys, the weights are as good as those.
    let bound = qType == .bf16 ? 2e-2 : dtype == .i8 ? 1e-3 : 2e-5
    let found = try run(level, rules, q: q, k: k, heads: heads)
    for (at, h) in heads.enumerated() {
      let want = oracle(q, k, rules, bias, head: h)
      for j in 0..<n {
        let (a, b) = (found.sums[at][j] - 0.5, want[j])
        #expect(abs(a - b) < bound * max(1, b), "\(level) \(rules) \(dtype) c \(c) n \(n) d \(d) head \(h) key \(j): \(a), not \(b)")
      }
      #expect(found.sums[at][n...].allSatisfy { $0 == 0.5 })  // not a place too far
    }
  }

  @Test(arguments: Kernels.available, dtypes) func shapes(_ level: Kernels.Level, dtype: DType) throws {
    for (c, n, d, group) in [
      (1, 1, 8, 1), (1, 90, 32, 4), (5, 90, 40, 1), (7, 300, 8, 2), (8, 33, 8, 1), (31, 31, 32, 2), (32, 65, 80, 1), (33, 257, 8, 4),
      (70, 530, 32, 1),
    ] {
      try Self.check(level, Self.rules[0], dtype, c: c, n: n, d: d, group: group)
    }
    try Self.check(level, Self.rules[0], dtype, qType: .bf16, c: 40, n: 90, d: 32, group: 2)
    try Self.check(level, Self.rules[0], dtype, qType: .bf16, c: 3, n: 90, d: 32, group: 2)
  }

  @Test(arguments: Kernels.available, Self.rules) func everyRule(_ level: Kernels.Level, rules: Rules) throws {
    for c in [1, 6, 45] { try Self.check(level, rules, .f32, c: c, n: 60, d: 16, group: 2) }
    try Self.check(level, rules, .bf16, c: 45, n: 60, d: 16, group: 2)
  }

  /// A row of weights adds up to one.
  @Test(arguments: Kernels.available) func rowsAddUpToOne(_ level: Kernels.Level) throws {
    var noise = Noise(8)
    for c in [3, 50] {
      let q = Tensor(noise.normals(c * 32), 1, c, 32)
      let k = Tensor(noise.normals(300 * 32), 1, 300, 32)
      let sums = try Self.run(level, Self.rules[0], q: q, k: k, heads: [0]).sums[0]
      #expect(abs(sums[..<300].reduce(0) { $0 + $1 - 0.5 } - Double(c)) < 1e-5 * Double(c))
    }
  }

  @Test(arguments: dtypes) func sameBitsForAnyThreads(_ dtype: DType) throws {
    var noise = Noise(2)
    for c in [5, 90] {
      let q = Tensor(noise.normals(4 * c * 32), 4, c, 32)
      let k = Tensor(noise.normals(2 * 700 * 32), 2, 700, 32, dtype)
      let runs = try [1, 2, 3].map { try Self.run(Kernels.activeLevel, Self.rules[0], q: q, k: k, heads: [0, 3], threads: $0).sums }
      #expect(runs[0] == runs[1] && runs[0] == runs[2])
    }
  }

  @Test(arguments: Kernels.available) func aRowOfNaNCountsAsNothing(_ level: Kernels.Level) throws {
    for c in [4, 40] {
      var noise = Noise(4)
      var values = noise.normals(c * 16)
      let k = Tensor(noise.normals(50 * 16), 1, 50, 16)
      for i in 0..<16 { values[2 * 16 + i] = .nan }
      let sums = try Self.run(level, Self.rules[0], q: Tensor(values, 1, c, 16), k: k, heads: [0]).sums[0]
      #expect(abs(sums[..<50].reduce(0) { $0 + $1 - 0.5 } - Double(c - 1)) < 1e-4)
    }
  }

  // MARK: listed rows

  @Test(arguments: Kernels.available, dtypes) func listedRows(_ level: Kernels.Level, dtype: DType) throws {
    let backend = try CPUBackend(threads: 2, level: level)
    let tokens: [Int32] = [0, 3, 4, 5, 20, 41, 42, 77, 90, 91]
    for (c, group) in [(1, 1), (1, 4), (6, 2), (40, 1), (70, 2)] {
      var noise = Noise(UInt64(c))
      let (heads, n, d) = (2 * group, 95, 32)
      let q = Tensor(noise.normals(heads * c * d), heads, c, d)
      let (k, v) = (Tensor(noise.normals(2 * n * d), 2, n, d, dtype), Tensor(noise.normals(2 * n * d), 2, n, d, dtype))
      let out = Tensor(zeros: heads, c, d)
      var lse = [Float](repeating: 0, count: heads * c)
      let bias: [Float] = (0..<heads).map { Float($0) }
      var rule = AttentionRule(scale: 0.25)
      rule.window = 60
      try bias.withUnsafeBufferPointer { bias in
        try lse.withUnsafeMutableBufferPointer { lse in
          try tokens.withUnsafeBufferPointer { tokens in
            rule.keyZeroBias = bias.baseAddress
            try backend.attend(
              q: q.view, k: k.view, v: v.view, tokens: tokens, rule: rule, mask: DenseMask(causal: true, queryOffset: 20),
              out: out.view, lse: TensorView(lse.baseAddress!, .f32, shape: [heads, c]))
          }
        }
      }
      let bound = dtype == .i8 ? 2e-2 : 5e-5
      for h in 0..<heads {
        for i in 0..<c {
          let legal = tokens.map { Int($0) <= 20 + i && Int($0) > 20 + i - 60 }
          let want = attention(
            q.row(h, i), tokens.map { k.row(h / group, Int($0)) }, tokens.map { v.row(h / group, Int($0)) }, legal, rule: rule,
            bias: (0, Double(bias[h])))
          let got = out.row(h, i)
          for x in 0..<d { #expect(abs(got[x] - want.o[x]) < bound, "\(level) \(dtype) c \(c) head \(h) query \(i)") }
          #expect(abs(Double(lse[h * c + i]) - want.lse) < bound || Double(lse[h * c + i]) == want.lse)
        }
      }
    }
  }

  // MARK: ZeroTuning's bias

  /// A bias of 0 has the bits of no bias, also beside heads with other biases.
  @Test(arguments: Kernels.available, dtypes) func aBiasOfZeroIsNone(_ level: Kernels.Level, dtype: DType) throws {
    let backend = try CPUBackend(threads: 2, level: level)
    for (c, softcap) in [(1, Float(0)), (1, 2), (5, 0), (40, 0), (40, 2)] {
      var noise = Noise(UInt64(c))
      let q = Tensor(noise.normals(4 * c * 32), 4, c, 32)
      let (k, v) = (Tensor(noise.normals(2 * 90 * 32), 2, 90, 32, dtype), Tensor(noise.normals(2 * 90 * 32), 2, 90, 32, dtype))
      func run(_ bias: [Float]?) throws -> [[[Double]]] {
        let out = Tensor(zeros: 4, c, 32)
        var rule = AttentionRule(scale: 0.2)
        rule.softcap = softcap
        try (bias ?? []).withUnsafeBufferPointer { values in
          if bias != nil { rule.keyZeroBias = values.baseAddress }
          try backend.attend(
            q: q.view, k: k.view, v: v.view, rule: rule, mask: DenseMask(causal: true, queryOffset: 90 - c), out: out.view, lse: nil,
            progress: nil)
        }
        return out.rows
      }
      let plain = try run(nil)
      #expect(try run([0, 0, 0, 0]) == plain)
      let mixed = try run([0, 3, -2, 0])
      #expect(mixed[0] == plain[0] && mixed[3] == plain[3] && mixed[1] != plain[1] && mixed[2] != plain[2])
    }
  }
}
