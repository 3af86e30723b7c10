import Testing

@testable import TamisCore

@Suite struct TopPTests {
  private func count(_ x: [Float], _ mass: Double, from: Double = 0, _ edge: TopP.Edge) -> Int {
    TopP.count(x, count: x.count, mass: mass, from: from, edge)
  }

  @Test func edges() {
    let x: [Float] = [1, 4, 2, 1]  // sorted: 4, 2, 1, 1
    #expect(count(x, 6, .reaching) == 2 && count(x, 6, .passing) == 3 && count(x, 6, .within) == 2)
    #expect(count(x, 6.5, .reaching) == 3 && count(x, 6.5, .passing) == 3 && count(x, 6.5, .within) == 2)
    #expect(count(x, 0, .reaching) == 0 && count(x, 0, .passing) == 1 && count(x, 0, .within) == 0)
    #expect(count(x, 100, .reaching) == 4 && count(x, 100, .passing) == 4 && count(x, 100, .within) == 4)
    #expect(count(x, 6, from: 5, .reaching) == 1 && count(x, 6, from: 7, .reaching) == 0)
    #expect(count([], 1, .reaching) == 0)
  }

  @Test func whatIsNoMassAddsNothing() {
    let x: [Float] = [.nan, 3, -5, 1, -.infinity]
    #expect(count(x, 3.5, .reaching) == 2 && count(x, 4, .within) == 5 && count(x, 3.9, .within) == 1)
  }

  @Test func againstRunningSums() {
    var random = Seeded()
    for _ in 0..<200 {
      let x = (0..<Int.random(in: 1...60, using: &random)).map { _ in Float(Int.random(in: 0...9, using: &random)) }
      let mass = Double(Int.random(in: 0...300, using: &random))
      let sorted = x.sorted(by: >).map(Double.init)
      let before = sorted.indices.map { sorted[..<$0].reduce(0, +) }
      #expect(count(x, mass, .reaching) == before.filter { $0 < mass }.count)
      #expect(count(x, mass, .passing) == before.filter { $0 <= mass }.count)
      #expect(count(x, mass, .within) == zip(before, sorted).filter { $0 + $1 <= mass }.count)
    }
  }
}

private struct Seeded: RandomNumberGenerator {
  var random = Random(state: 9)
  mutating func next() -> UInt64 { random.bits() }
}
