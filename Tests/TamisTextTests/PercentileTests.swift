import Testing
@testable import TamisText

@Suite struct PercentileTests {
  /// Of 0, 1, .., n - 1 the q-th percentile is (n - 1) q / 100.
  @Test func straightLines() throws {
    for n in [1, 2, 3, 7, 100, 101, 1000] {
      let values = (0..<n).map(Double.init).shuffled()
      for q in 0...100 {
        let found = try #require(Quantile.percentile(values, q, single: false))
        let expected = Double(n - 1) * Double(q) / 100
        #expect(abs(found - expected) <= 4 * expected.ulp, "n \(n), q \(q)")
      }
    }
  }

  @Test func singlesAreRoundedOnTheWay() throws {
    // numpy 2.4.6: np.percentile(np.array([.1, .3], np.float32), 50), and of [.1, .3] in float64
    #expect(try #require(Quantile.percentile([Double(Float(0.1)), Double(Float(0.3))], 50, single: true)) == Double(Float(0.2)))
    #expect(try #require(Quantile.percentile([0.1, 0.3], 50, single: false)) == 0.2)
  }

  @Test func endsAndErrors() throws {
    let values = [3.0, 1, 2]
    #expect(Quantile.percentile(values, 0, single: false) == 1)
    #expect(Quantile.percentile(values, 100, single: false) == 3)
    #expect(Quantile.percentile(values, 101, single: false) == nil)
    #expect(Quantile.percentile(values, -1, single: false) == nil)
    #expect(Quantile.percentile([], 50, single: false) == nil)
    #expect(try #require(Quantile.percentile([1, .nan], 50, single: false)).isNaN)
  }

  /// The share of values below the percentile is q, whatever the values.
  @Test func ranks() throws {
    var state: UInt64 = 5
    for n in [1, 10, 333, 1000] {
      let values = (0..<n).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1
        return Double(state >> 40) / 16_777_216
      }
      let sorted = values.sorted()
      for q in stride(from: 0, through: 100, by: 7) {
        let found = try #require(Quantile.percentile(values, q, single: false))
        let rank = Double(n - 1) * Double(q) / 100
        #expect(found >= sorted[Int(rank.rounded(.down))] && found <= sorted[Int(rank.rounded(.up))])
      }
    }
  }
}
