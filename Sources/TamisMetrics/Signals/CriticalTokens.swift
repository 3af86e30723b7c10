public import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// One side of pairs of answers: log-probabilities of the answer's own tokens, [batch][tokens].
public struct AnswerLogProbs {
  public var policy: TokenValues
  public var reference: TokenValues
  /// cDPO: token weights, nil: 1. T-REG: token rewards.
  public var weights: TokenValues?
  /// nil: every token.
  public var response: TokenFlags?

  public init(policy: TokenValues, reference: TokenValues, weights: TokenValues? = nil, response: TokenFlags? = nil) {
    self.policy = policy
    self.reference = reference
    self.weights = weights
    self.response = response
  }

  func counts(_ i: Int) throws(TamisError) -> Bool {
    if let response { return try isSet(response, i, "response") }
    return true
  }

  func weight(_ i: Int) throws(TamisError) -> Double {
    if let weights { return try number(weights, i, "weights") }
    return 1
  }

  /// log pi - log pi_ref.
  func ratio(_ i: Int) throws(TamisError) -> Double {
    try number(policy, i, "policy") - number(reference, i, "reference")
  }
}

/// A mean loss over pairs, that of each, and the gradients by the policy's log-probabilities.
public struct PairLoss {
  public var loss = 0.0
  public var losses: [Double] = []
  /// T-REG's w.
  public var weights: [Double] = []
  public var chosen: [Double] = []
  public var rejected: [Double] = []
}

/// cDPO (arXiv 2411.19943): preference optimisation that weights the tokens of a wrong answer by how critical they are.
public enum CriticalTokens {
  public struct WeightOptions: Sendable {
    public var isChosen = false
    /// A chosen answer's weights are 1.
    public var onlyNegative = true
    public var logScores = false
    /// A last weight, 1, for the EOS that training appends.
    public var appendsEOS = true
    /// A first weight, 0.
    public var leadingZero = false
    public init() {}
  }

  /// Weights from the contrastive scores s_t: rejected 1 - s_t, chosen s_t.
  /// - Throws: `invalidArgument`: a score outside [0, 1]; 1e-6 above 1 is rounding.
  public static func weights(scores: TokenValues, _ options: WeightOptions = WeightOptions()) throws(TamisError) -> [Double] {
    var weights: [Double] = []
    weights.reserveCapacity(scores.count + 2)
    if options.leadingZero { weights.append(options.isChosen && options.onlyNegative ? 1 : 0) }
    for i in 0..<scores.count {
      let x = scores[i]
      if options.logScores {
        try require(x <= 1e-6, "scores[\(i)] is \(x); expected ln s, at most 0")
      } else {
        try require(x >= 0 && x <= 1 + 1e-6, "scores[\(i)] is \(x); expected 0 to 1")
      }
      if options.isChosen {
        weights.append(options.onlyNegative ? 1 : options.logScores ? exp(min(x, 0)) : min(x, 1))
      } else {
        weights.append(options.logScores ? -expm1(min(x, 0)) : 1 - min(x, 1))
      }
    }
    if options.appendsEOS { weights.append(1) }
    return weights
  }

  public enum Reduction: Int32, Sendable {
    case sumThenSigmoid = 0
    /// The released code: no sum over tokens before the sigmoid.
    case byPosition = 1
  }

  /// -ln sigmoid(beta (w+ D+ - w- D-)), of sums over tokens or position by position.
  public static func loss(
    chosen: AnswerLogProbs, rejected: AnswerLogProbs, batch: Int, tokens: Int, beta: Double,
    reduction: Reduction = .sumThenSigmoid
  ) throws(TamisError) -> PairLoss {
    try requirePositive(beta, "beta")
    var result = PairLoss()
    result.losses = [Double](repeating: 0, count: batch)
    result.chosen = [Double](repeating: 0, count: batch * tokens)
    result.rejected = result.chosen
    for b in 0..<batch {
      let places = b * tokens..<(b + 1) * tokens
      var sum = 0.0
      for i in places {
        var margin = 0.0
        var (plus, minus) = (0.0, 0.0)
        if try chosen.counts(i) {
          plus = try chosen.weight(i)
          margin += try plus * chosen.ratio(i)
        }
        if try rejected.counts(i) {
          minus = try rejected.weight(i)
          margin -= try minus * rejected.ratio(i)
        }
        if reduction == .byPosition {
          sum += minusLogSigmoid(beta * margin)
          let slope = -sigmoid(-beta * margin) * beta / (Double(batch) * Double(tokens))
          (plus, minus) = (plus * slope, minus * slope)
        } else {
          sum += margin
        }
        (result.chosen[i], result.rejected[i]) = (plus, -minus)
      }
      if reduction == .byPosition {
        result.losses[b] = sum / Double(tokens)
      } else {
        result.losses[b] = minusLogSigmoid(beta * sum)
        let slope = -sigmoid(-beta * sum) * beta / Double(batch)
        for i in places {
          result.chosen[i] *= slope
          result.rejected[i] *= slope
        }
      }
      result.loss += result.losses[b]
    }
    result.loss /= Double(batch)
    return result
  }

  /// The place of the critical token, from how many continuations of each prefix are right: the first prefix with none, unless
  /// a later one has more than `tolerance`; then the next such. nil: no prefix has none.
  public static func critical(
    correct: UnsafeBufferPointer<Int64>, samples: Int64, tolerance: Int64 = 3
  ) throws(TamisError) -> Int? {
    try require(samples >= 1, "samples is \(samples); expected at least 1")
    try require(tolerance >= 0, "tolerance is \(tolerance); expected at least 0")
    var candidate: Int?
    var discarded: Int?
    for i in 0..<correct.count {
      let right = correct[i]
      try require(right >= 0 && right <= samples, "correct[\(i)] is \(right); expected 0 to \(samples)")
      if candidate == nil {
        if right == 0 { candidate = i }
      } else if right > tolerance {
        discarded = candidate
        candidate = nil
      }
    }
    return candidate ?? discarded
  }

  /// 1 - C(n - c, k) / C(n, k) = 1 - product over i = n - c + 1 ... n of (1 - k / i).
  public static func pass(correct: UnsafeBufferPointer<Int64>, of n: Int64, at k: Int64) throws(TamisError) -> [Double] {
    try require(n >= 1 && n <= Int64(Int32.max), "n is \(n); expected 1 to \(Int32.max)")
    try require(k >= 1 && k <= n, "k is \(k); expected 1 to \(n)")
    var pass: [Double] = []
    pass.reserveCapacity(correct.count)
    for place in 0..<correct.count {
      let c = correct[place]
      try require(c >= 0 && c <= n, "correct[\(place)] is \(c); expected 0 to \(n)")
      if n - c < k {
        pass.append(1)
        continue
      }
      // The shorter of the two forms of the product: over c, or over k, factors.
      var none = 1.0
      for j in 0..<min(c, k) where none > 0 { none *= 1 - Double(max(c, k)) / Double(n - j) }
      pass.append(1 - none)
    }
    return pass
  }
}
