import Testing

@testable import TamisCore

@Suite struct TopKTests {
  /// What the header says, by sorting: ties to the lower index, NaN as -inf.
  static func expected(_ x: [Float], _ k: Int) -> [Int32] {
    let y = x.map { $0.isNaN ? -Float.infinity : $0 }
    return y.indices.sorted { y[$0] != y[$1] ? y[$0] > y[$1] : $0 < $1 }.prefix(k).sorted().map { Int32($0) }
  }

  static func check(_ x: [Float], _ k: Int, _ level: Kernels.Level) {
    var got = [Int32](repeating: -1, count: min(max(k, 0), x.count) + 1)
    let n = TopK.select(x, count: x.count, k: k, offset: 0, into: &got, kernels: Kernels.table(level))
    #expect(n == min(max(k, 0), x.count))
    #expect(Array(got[..<n]) == expected(x, max(k, 0)))
    #expect(got[n] == -1)
  }

  @Test(arguments: Kernels.available) func againstSort(_ level: Kernels.Level) {
    var g = Seeded()
    for n in [0, 1, 2, 7, 8, 15, 16, 17, 33, 1000, 5003] {
      let spread = (0..<n).map { _ in
        Float.random(in: -1...1, using: &g) * Float(sign: .plus, exponent: Int.random(in: -60...60, using: &g), significand: 1)
      }
      let ties = (0..<n).map { _ in Float(Int.random(in: -2...2, using: &g)) }
      let close = (0..<n).map { _ in Float(bitPattern: 0x3f80_0000 + UInt32.random(in: 0..<50, using: &g)) }
      let bad = (0..<n).map { i in
        [Float.nan, .infinity, -.infinity, 0, -0.0, 1, -Float.nan, .leastNonzeroMagnitude][Int.random(in: 0..<8, using: &g)]
      }
      for k in [-1, 0, 1, 2, n / 3, n - 1, n, n + 5] { for x in [spread, ties, close, bad] { Self.check(x, k, level) } }
    }
  }

  @Test func allNaN() { Self.check(.init(repeating: .nan, count: 40), 7, Kernels.activeLevel) }
}

/// The same draws on every run.
private struct Seeded: RandomNumberGenerator {
  var random = Random(state: 7)
  mutating func next() -> UInt64 { random.bits() }
}
