import Testing

@testable import TamisMetrics

@Suite struct ExactArithmeticTests {
  @Test func sumsAreCorrectlyRounded() {
    #expect(ExactSum.of([1e100, 1.0, -1e100, 1e-20]) == 1)
    // 2^53 + 1 + 2^-60: a tie but for the last term.
    #expect(ExactSum.of([0x1p53, 1.0, 0x1p-60]) == 0x1p53 + 2)
    #expect(ExactSum.of([]) == 0)
  }

  @Test func quotientsAreCorrectlyRounded() {
    #expect(Rational(1, 3).value == 1.0 / 3)
    // (2^54 + 2) / 2 is a tie between 2^53 and 2^53 + 2; one more in the numerator is not.
    #expect(Rational((1 << 54) + 2, 2).value == 0x1p53)
    #expect(Rational((1 << 54) + 3, 2).value == 0x1p53 + 2)
    let big = Natural(UInt64.max) * Natural(UInt64.max) * Natural(10)
    #expect(Rational(big, Natural(UInt64.max) * Natural(UInt64.max) * Natural(3)).value == 10.0 / 3)
    #expect((Natural(7) << 100) - (Natural(3) << 100) == Natural(1) << 102)
  }
}
