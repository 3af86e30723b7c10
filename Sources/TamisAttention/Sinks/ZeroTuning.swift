public import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// ZeroTuning (arXiv 2505.11739): the weight that a head pays to token 0 times gamma, the row renormalised,
///
///     a'_0 = gamma a_0 / D,   a'_j = a_j / D,   D = 1 + (gamma - 1) a_0
///
/// which is softmax with ln gamma added to the logit of token 0: `AttentionRule.keyZeroBias`. gamma above 1 flattens the rest
/// of the row, below 1 it sharpens it. Which heads and which gamma is found by a search over scores of a calibration set.
public enum ZeroTuning {
  /// What is classified as a whole.
  public enum Unit: Int32, Sendable, CaseIterable {
    /// One head index in all layers (mode 1 of the official code).
    case heads = 0
    /// One head of one layer.
    case layerHeads = 1
    /// All heads of one layer.
    case layers = 2
  }

  public struct Options: Sendable {
    public var layers = 1
    /// Query heads of a layer.
    public var heads = 1
    public var unit = Unit.heads
    /// A unit is classified by the score with this gamma in it alone.
    public var probeGamma: Float = 2
    /// At most this share of all units is tuned, at least one.
    public var share: Float = 0.4
    public var gammaMin: Float = 0.25
    public var gammaMax: Float = 4
    public var gammaStep: Float = 0.25

    public init() {}

    /// How many units there are.
    public var units: Int {
      switch unit {
      case .heads: heads
      case .layerHeads: layers * heads
      case .layers: layers
      }
    }
  }

  public struct Result: Sendable {
    /// [layers][heads]; 1 where nothing is changed.
    public var gammas: [Float]
    /// Score at the probe minus the baseline, one per unit; 0 where both are minus infinity.
    public var effects: [Double]
    /// Calls of the scoring function.
    public var evaluations: Int
    /// Units whose score rose, fell or stayed at the probe.
    public var up, down, neutral: Int
    /// Units that carry `gamma`; 0: nothing beat the baseline.
    public var tuned: Int
    public var gamma: Float
    public var baseline, best: Double
  }

  /// Below this, row 0, which sees nothing but token 0, would come near 0 / 0.
  public static let smallestGamma: Float = 1e-4
  static let mostGammas = 1 << 24
  static let mostSteps = 1 << 20

  /// ln gamma; exactly 0 for 1, which leaves attention bit for bit as it is.
  /// - Throws: `invalidArgument` for a gamma that is below 1e-4 or not finite; `name` is what the sentence calls it.
  public static func bias(_ gamma: Float, _ name: @autoclosure () -> String = "gamma") throws(TamisError) -> Float {
    try require(
      gamma.isFinite && gamma >= smallestGamma, "\(name()) is \(gamma); expected a finite number of at least \(smallestGamma)")
    return Float(log(Double(gamma)))
  }

  /// Classifies units and searches gamma (section 4 of the paper): the score of every unit at the probe, the larger of the
  /// classes "rose" and "fell" (of equal ones, the former), in it the units with the largest effect, then the grid with all of
  /// them at once.
  ///
  /// Of equal effects the lower unit counts as larger; of equal scores the baseline wins, then the earlier gamma. A NaN score
  /// counts as minus infinity. Calls `score` once, once per unit, and once per gamma of the grid but 1.
  /// - Parameter score: of [layers][heads] gammas; higher is better. nil stops the search.
  /// - Throws: `invalidArgument`, `cancelled`.
  public static func search(
    _ options: Options, score: (UnsafeBufferPointer<Float>) -> Double?
  ) throws(TamisError) -> Result {
    try options.check()
    var evaluations = 0
    func evaluate(_ units: [Int], gamma: Float) throws(TamisError) -> Double {
      let value = options.gammas(units, gamma).withUnsafeBufferPointer { score($0) }
      evaluations += 1
      guard let value else { throw TamisError(.cancelled, "score stopped the search at evaluation \(evaluations)") }
      return value.isNaN ? -.infinity : value
    }
    let baseline = try evaluate([], gamma: 1)
    var scores: [Double] = []
    for unit in 0..<options.units { scores.append(try evaluate([unit], gamma: options.probeGamma)) }
    let effects = scores.map { $0 == baseline ? 0 : $0 - baseline }
    let (up, down) = (effects.count { $0 > 0 }, effects.count { $0 < 0 })

    let chosen = options.dominant(effects, rises: up >= down)
    var (best, gamma) = (baseline, Float(1))
    if !chosen.isEmpty {
      for candidate in options.grid where candidate != 1 {
        let score = try evaluate(chosen, gamma: candidate)
        if score > best { (best, gamma) = (score, candidate) }
      }
    }
    let tuned = gamma == 1 ? [] : chosen
    return Result(
      gammas: options.gammas(tuned, gamma), effects: effects, evaluations: evaluations, up: up, down: down,
      neutral: effects.count - up - down, tuned: tuned.count, gamma: gamma, baseline: baseline, best: best)
  }
}

extension ZeroTuning.Options {
  /// Checks every field.
  /// - Throws: `invalidArgument` naming the field.
  public func check() throws(TamisError) {
    let most = ZeroTuning.mostGammas
    try require((1...most).contains(layers), "layers is \(layers); expected 1 to \(most)")
    try require(
      (1...most / layers).contains(heads),
      "heads is \(heads); expected 1 to \(most / layers), at most \(most) in \(layers) layers")
    for (gamma, name) in [(probeGamma, "probe_gamma"), (gammaMin, "gamma_min"), (gammaMax, "gamma_max")] {
      _ = try ZeroTuning.bias(gamma, name)
    }
    try require(probeGamma != 1, "probe_gamma is 1, the baseline; expected another gamma")
    try require(share > 0 && share <= 1, "share is \(share); expected more than 0, at most 1")
    try require(gammaMax >= gammaMin, "gamma_max is \(gammaMax); expected at least gamma_min, \(gammaMin)")
    try require(gammaStep.isFinite && gammaStep > 0, "gamma_step is \(gammaStep); expected a finite number above 0")
    try require(
      steps < Double(ZeroTuning.mostSteps),
      "gamma_step is \(gammaStep), which makes more than \(ZeroTuning.mostSteps) steps from gamma_min to gamma_max")
  }

  /// [layers][heads]: gamma in these units, 1 elsewhere.
  fileprivate func gammas(_ units: [Int], _ gamma: Float) -> [Float] {
    var all = [Float](repeating: 1, count: layers * heads)
    for unit in units {
      switch self.unit {
      case .heads: for layer in 0..<layers { all[layer * heads + unit] = gamma }
      case .layerHeads: all[unit] = gamma
      case .layers: for head in 0..<heads { all[unit * heads + head] = gamma }
      }
    }
    return all
  }

  private var steps: Double { (Double(gammaMax) - Double(gammaMin)) / Double(gammaStep) }

  /// The gammas to try: gammaMin + i gammaStep up to gammaMax, which a rounding error must not leave out.
  fileprivate var grid: [Float] {
    (0...Int(steps + 1e-4)).map { min(gammaMax, Float(Double(gammaMin) + Double($0) * Double(gammaStep))) }
  }

  /// The units of a class with the largest effects, ascending.
  fileprivate func dominant(_ effects: [Double], rises: Bool) -> [Int] {
    let members = effects.indices.filter { rises ? effects[$0] > 0 : effects[$0] < 0 }
    let most = max(1, Int((share * Float(units)).rounded(.down)))
    let ranked = members.sorted { abs(effects[$0]) != abs(effects[$1]) ? abs(effects[$0]) > abs(effects[$1]) : $0 < $1 }
    return ranked.prefix(most).sorted()
  }
}
