import Testing

@testable import TamisDevice
import TamisCore

extension OpenCLTests {
  @Suite(.needsDevice) struct TopKTests {
    /// The rule: NaN is -inf, ties go to the lower index, ascending.
    static func expected(_ scores: [Float], _ k: Int, first: Int) -> [Int32] {
      let x = scores.map { $0.isNaN ? -.infinity : $0 }
      let order = x.indices.sorted { x[$0] != x[$1] ? x[$0] > x[$1] : $0 < $1 }
      return order.prefix(max(k, 0)).sorted().map { Int32($0 + first) }
    }

    static func check(_ values: [Float], _ k: Int, first: Int = 7) throws {
      let backend = try #require(Device.backend)
      let scores = OpenCLScores(backend.queue), selection = backend.makeSelection()
      try scores.reserve(first..<(first + values.count)).write(values, bytes: values.count * 4)
      try backend.select(k, from: scores, into: selection)
      var tokens = [Int32](repeating: -1, count: selection.count)
      try selection.read(into: &tokens)
      #expect(tokens == expected(values, k, first: first), "\(k) of \(values.count)")
    }

    @Test(arguments: [1, 2, 255, 256, 257, 4095, 4096, 4097, 20_000]) func random(_ n: Int) throws {
      var random = Random(UInt64(n))
      let values = random.array(n)
      for k in Set([0, 1, n / 3, n - 1, n, n + 5]) { try Self.check(values, k) }
    }

    @Test func ties() throws {
      for n in [100, 5000, 9000] {
        var random = Random(UInt64(n))
        try Self.check([Float](repeating: 0.25, count: n), n / 2)
        let few = (0..<n).map { _ in Float(random.below(3)) - 1 }
        for k in [1, n / 5, n / 2, n - 1] { try Self.check(few, k) }
      }
    }

    @Test func specialValues() throws {
      let specials: [Float] = [
        .nan, -.nan, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude, -.leastNonzeroMagnitude, .greatestFiniteMagnitude,
        -.greatestFiniteMagnitude, 1, -1, Float(bitPattern: 0x7f80_0001), Float(bitPattern: 0xffff_ffff),
      ]
      for k in 0...specials.count {
        try Self.check(specials, k)
        try Self.check(specials.reversed(), k)
        try Self.check([-0.0, 0, -0.0, 0], min(k, 4))
      }
      try Self.check([Float](repeating: .nan, count: 300), 7)
      var random = Random(3)
      let bits = (0..<6000).map { _ in Float(bitPattern: UInt32(truncatingIfNeeded: random.next())) }
      for k in [1, 100, 3000, 5999] { try Self.check(bits, k) }
    }

    /// Scores, selection and attention without a copy to the host in between.
    @Test func scoreSelectAttend() throws {
      let backend = try #require(Device.backend)
      let n = 700, heads = 4, d = 32
      let cache = try TestCache(backend, n: n, d: d)
      var random = Random(12)
      let query = random.array(heads * d)
      let scores = backend.makeScores(), selection = backend.makeSelection()
      try cache.score(backend, query, heads: heads, candidates: 8..<600, rule: VoteRule(), into: scores)
      try backend.select(50, from: scores, into: selection)
      #expect(selection.count == 50)
      var votes = [Float](repeating: 0, count: 592), tokens = [Int32](repeating: 0, count: 50)
      try scores.read(into: &votes)
      try selection.read(into: &tokens)
      #expect(tokens == Self.expected(votes, 50, first: 8))
      try cache.check(
        backend, heads: heads, c: 1, tokens: AttendedTokens(sinks: 8, selected: selection, recent: 600..<n),
        list: Array(0..<8) + tokens.map(Int.init) + Array(600..<n), rope: RoPE(style: .half, rotaryDims: 32))
    }
  }
}
