import Tamis
import Testing

@Suite struct ZeroTuningTests {
  private func options(_ layers: Int, _ heads: Int, _ unit: ZeroTuning.Unit = .heads, share: Float = 0.5) -> ZeroTuning.Options {
    var options = ZeroTuning.Options()
    (options.layers, options.heads, options.unit, options.share) = (layers, heads, unit, share)
    return options
  }

  @Test func biasIsTheLogarithm() throws {
    #expect(try ZeroTuning.bias(1) == 0)
    #expect(abs(try ZeroTuning.bias(4) - 1.386_294_4) < 1e-6)
    for bad: Float in [0, -1, 9e-5, .infinity, .nan] { #expect(status { _ = try ZeroTuning.bias(bad) } == .invalidArgument) }
  }

  /// a' of the formula from the outputs of the domain, on every backend: values are the rows of the identity.
  @Test(arguments: Engine.allCases) func biasIsThePostScale(_ engine: Engine) throws {
    let context = Context(backend: try engine.backend())
    var random = Random(3)
    let (heads, c, n, d) = (2, 12, 16, 16)
    let q = Tensor.normal([heads, c, d], &random)
    let k = Tensor.normal([1, n, d], &random)
    let v = Tensor([1, n, d])
    for t in 0..<n { v[0, t, t] = 1 }
    let gamma: [Float] = [3, 0.4]
    let bias = try gamma.map { try ZeroTuning.bias($0) }
    let (plain, tuned) = (Tensor([heads, c, d]), Tensor([heads, c, d]))
    try bias.withUnsafeBufferPointer { bias in
      for (out, values) in [(plain, nil), (tuned, bias.baseAddress)] {
        var rule = AttentionRule(scale: 0.4)
        rule.keyZeroBias = values
        try Dense.attend(
          context, q: q.view, k: k.view, v: v.view, rule: rule, mask: DenseMask(causal: true, queryOffset: 2), out: out.view, lse: nil,
          progress: nil)
      }
    }
    for h in 0..<heads {
      for i in 0..<c {
        let sum = 1 + (Double(gamma[h]) - 1) * plain[h, i, 0]
        for j in 0..<n {
          let want = plain[h, i, j] * (j == 0 ? Double(gamma[h]) : 1) / sum
          #expect(abs(tuned[h, i, j] - want) < 1e-6, "\(engine) head \(h) row \(i) key \(j)")
        }
      }
    }
  }

  @Test func plantedHeadsAreFound() throws {
    var calls = 0
    let found = try ZeroTuning.search(options(3, 6)) { gammas in
      calls += 1
      #expect(gammas.count == 18)
      return (0..<3).reduce(0.0) { $0 - abs(Double(gammas[$1 * 6 + 1]) - 3) - 2 * abs(Double(gammas[$1 * 6 + 4]) - 3) }
    }
    #expect(found.gammas == (0..<3).flatMap { _ in [1, 3, 1, 1, 3, 1] as [Float] })
    #expect(found.gamma == 3 && found.best == 0 && found.baseline == -18 && found.tuned == 2)
    #expect((found.up, found.down, found.neutral) == (2, 0, 4))
    #expect(found.effects == [0, 3, 0, 0, 6, 0])
    #expect(found.evaluations == calls && calls == 1 + 6 + 15)
  }

  @Test func equalClassesRise() throws {
    // Heads 0 and 1 rise, 2 and 3 fall.
    let found = try ZeroTuning.search(options(1, 4, share: 1)) { g in
      Double(g[0]) + Double(g[1]) - Double(g[2]) - Double(g[3])
    }
    #expect(found.up == 2 && found.down == 2 && found.gammas == [4, 4, 1, 1] && found.gamma == 4)
  }

  @Test func tiesGoToTheLowerUnitAndTheEarlierGamma() throws {
    let found = try ZeroTuning.search(options(2, 3, .layerHeads, share: 0.34)) { g in g.allSatisfy { $0 == 1 } ? 0 : 1 }
    #expect(found.up == 6 && found.tuned == 2 && found.gammas == [0.25, 0.25, 1, 1, 1, 1])
  }

  @Test func theShareIsRoundedDownToAtLeastOne() throws {
    for (share, want) in [(Float(0.01), 1), (0.4, 4), (0.7, 7), (0.69, 6), (1, 10)] {
      let found = try ZeroTuning.search(options(1, 10, share: share)) { g in g.reduce(0) { $0 + Double($1) } }
      #expect(found.tuned == want, "share \(share)")
    }
  }

  @Test func theGrid() throws {
    var seen: [Float] = []
    var o = options(1, 1)
    (o.gammaMin, o.gammaMax, o.gammaStep) = (0.1, 1.3, 0.1)
    _ = try ZeroTuning.search(o) { g in
      seen.append(g[0])
      return seen.count == 2 ? 1 : 0
    }
    #expect(seen.count == 2 + 12 && seen[0] == 1 && seen[1] == 2 && seen[2] == 0.1 && seen.last! == 1.3)
    #expect(!seen[2...].contains(1))
    seen = []
    (o.gammaMin, o.gammaMax, o.gammaStep) = (5, 5, 1)
    _ = try ZeroTuning.search(o) { g in
      seen.append(g[0])
      return Double(g[0])
    }
    #expect(seen == [1, 2, 5])
  }

  @Test func nothingBeatsTheBaseline() throws {
    let found = try ZeroTuning.search(options(2, 2)) { g in g.allSatisfy { $0 == 1 } ? 1 : g.contains(2) && g.contains(1) ? 2 : 0 }
    // The probe promised more than the grid keeps, but for gamma 2, which is on it.
    #expect(found.gamma == 2 && found.best == 2)
    var narrow = options(2, 2)
    narrow.gammaMin = 3
    let none = try ZeroTuning.search(narrow) { g in g.allSatisfy { $0 == 1 } ? 1 : g.contains(2) ? 2 : 0 }
    #expect(none.tuned == 0 && none.gamma == 1 && none.best == 1 && none.gammas == [1, 1, 1, 1] && none.up == 2)
    let flat = try ZeroTuning.search(options(2, 2)) { _ in 7 }
    #expect(flat.neutral == 2 && flat.evaluations == 3 && flat.best == 7)
  }

  @Test func scoresThatAreNoNumbers() throws {
    let nan = try ZeroTuning.search(options(1, 3)) { g in g[0] != 1 ? .nan : g[1] == 1 ? 0 : 1 }
    #expect(nan.effects[0] == -.infinity && nan.up == 1 && nan.down == 1 && nan.gammas[1] == 0.25)
    let rescued = try ZeroTuning.search(options(1, 2)) { g in g.allSatisfy { $0 == 1 } ? .nan : 0 }
    #expect(rescued.baseline == -.infinity && rescued.best == 0 && rescued.up == 2 && rescued.effects == [.infinity, .infinity])
    let hopeless = try ZeroTuning.search(options(1, 2)) { _ in .nan }
    #expect(hopeless.neutral == 2 && hopeless.best == -.infinity && hopeless.effects == [0, 0])
  }

  @Test func stopping() {
    for at in 1...19 {
      var calls = 0
      let stopped = status {
        _ = try ZeroTuning.search(options(1, 4)) { g in
          calls += 1
          return calls == at ? nil : Double(g[2])
        }
      }
      #expect(stopped == .cancelled && calls == at)
    }
  }

  @Test func badInput() {
    let changes: [(inout ZeroTuning.Options) -> Void] = [
      { $0.layers = 0 }, { $0.heads = -1 }, { $0.layers = .max }, { $0.heads = .max }, { $0.probeGamma = 1 }, { $0.probeGamma = 0 },
      { $0.share = 0 }, { $0.share = 1.01 }, { $0.share = .nan }, { $0.gammaMin = 0 }, { $0.gammaMax = 0.2 }, { $0.gammaMax = .nan },
      { $0.gammaStep = 0 }, { $0.gammaStep = .nan }, { $0.gammaStep = 1e-20 },
    ]
    for (i, change) in changes.enumerated() {
      var o = options(2, 2)
      change(&o)
      let found = status {
        _ = try ZeroTuning.search(o) { _ in
          Issue.record("asked for a score")
          return 0
        }
      }
      #expect(found == .invalidArgument, "change \(i)")
    }
  }
}
